// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace trainctl::cli {

/// One axis of a plot: from values to positions 0…1, and its ticks.
struct Axis {
  double low = 0;
  double high = 1;
  bool logarithmic = false;

  /// Widens an empty range so that a single value stands in the middle.
  static Axis around(double low, double high, bool logarithmic);
  /// 0 at `low`, 1 at `high`; never outside, never NaN.
  [[nodiscard]] double position(double value) const;
  [[nodiscard]] std::vector<double> ticks(int most) const;
};

/// The ticks' numbers with as many digits as tell them apart.
std::vector<std::string> tick_labels(const std::vector<double>& ticks);
/// Seconds as "30 s", "5 min", "1.5 h", "2 d".
std::string seconds_label(double seconds);

}  // namespace trainctl::cli
