// SPDX-License-Identifier: Apache-2.0
#include "cli/plot_axis.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "base/text.hpp"
#include "cli/plot.hpp"

namespace trainctl::cli {
namespace {

std::vector<double> decade_ticks(double low, double high, int most) {
  std::vector<double> ticks;
  const double first = std::ceil(std::log10(low) - 1e-9);
  const double last = std::floor(std::log10(high) + 1e-9);
  if (last - first < 1) return nice_ticks(low, high, most);
  const double step = std::max(1.0, std::ceil((last - first + 1) / most));
  for (double exponent = first; exponent <= last; exponent += step) ticks.push_back(std::pow(10.0, exponent));
  return ticks;
}

}  // namespace

std::vector<double> nice_ticks(double low, double high, int most) {
  const double range = high - low;
  most = std::max(most, 1);
  if (!(range > 0) || !std::isfinite(range)) return {low};
  const double magnitude = std::pow(10.0, std::floor(std::log10(range / most)));
  if (!(magnitude > 0)) return {low};
  for (const double factor : {1.0, 2.0, 2.5, 5.0, 10.0, 20.0, 50.0}) {
    const double step = factor * magnitude;
    const double first = std::ceil(low / step - 1e-9);
    const double last = std::floor(high / step + 1e-9);
    if (last - first + 1 > most || last < first) continue;
    std::vector<double> ticks;
    const int count = static_cast<int>(last - first) + 1;  // first + 1 may be first: far from 0 a double skips numbers
    ticks.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) ticks.push_back((first + i) * step + 0.0);
    // Steps far below the size of the values run into the end of the digits of a double.
    ticks.erase(std::unique(ticks.begin(), ticks.end()), ticks.end());
    return ticks;
  }
  return {low};
}

Axis Axis::around(double low, double high, bool logarithmic) {
  if (low == high) {
    const double margin = low == 0 ? 1 : std::fabs(low) * 0.1;
    constexpr double most = std::numeric_limits<double>::max();
    if (logarithmic)
      return {std::max(low / 2, std::numeric_limits<double>::denorm_min()), std::min(high * 2, most), true};
    return {std::max(low - margin, -most), std::min(high + margin, most), false};
  }
  return {low, high, logarithmic};
}

double Axis::position(double value) const {
  double position = 0;
  if (logarithmic) {
    position = (std::log(value) - std::log(low)) / (std::log(high) - std::log(low));
  } else if (std::isfinite(high - low)) {
    position = (value - low) / (high - low);
  } else {
    position = (value / 2 - low / 2) / (high / 2 - low / 2);  // the range of two huge values is not finite
  }
  return std::isfinite(position) ? std::clamp(position, 0.0, 1.0) : 0.5;
}

std::vector<double> Axis::ticks(int most) const {
  return logarithmic ? decade_ticks(low, high, most) : nice_ticks(low, high, most);
}

std::vector<std::string> tick_labels(const std::vector<double>& ticks) {
  std::vector<std::string> labels;
  for (int digits = 3; digits <= 12; ++digits) {
    labels.clear();
    for (const double tick : ticks) labels.push_back(base::format_number(tick, digits));
    bool exact = std::set<std::string>(labels.begin(), labels.end()).size() == labels.size();
    // 0.125 must not be shown as 0.13: nice numbers are short, so show them whole.
    for (std::size_t i = 0; i < ticks.size() && exact; ++i) exact = base::format_number(ticks[i], 12) == labels[i];
    if (exact) break;
  }
  return labels;
}

std::string seconds_label(double seconds) {
  const double size = std::fabs(seconds);
  if (size < 120) return base::format_number(seconds, 3) + " s";
  if (size < 7200) return base::format_number(seconds / 60, 3) + " min";
  if (size < 172800) return base::format_number(seconds / 3600, 3) + " h";
  return base::format_number(seconds / 86400, 3) + " d";
}

}  // namespace trainctl::cli
