// SPDX-License-Identifier: Apache-2.0
// Plots as text. Pure: values in, lines out.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace trainctl::cli {

struct PlotPoint {
  double x = 0;  ///< a step, or seconds
  double y = 0;  ///< NaN and infinities are gaps
};

struct PlotSeries {
  std::string name;
  std::vector<PlotPoint> points;  ///< in the order of x
};

struct PlotOptions {
  int width = 80;   ///< columns of the whole picture
  int height = 16;  ///< lines of the whole picture, with the x axis and the legend
  bool log_y = false;
  bool time_x = false;  ///< x is seconds: "2 min", "1.5 h"
  bool colors = false;  ///< ANSI colours; every series has a mark of its own as well
  bool utf8 = true;     ///< braille and box characters, else ASCII
  std::string x_label = "step";
};

/// A line plot with axes, ticks and a legend, every line ended with a newline. Where more points than columns fall
/// together each column shows its lowest and highest value, so no peak is lost. With log_y values <= 0 are gaps. Series
/// without any finite point are named with "no values". Narrower than 20 or lower than 5 is drawn as that.
std::string plot(std::span<const PlotSeries> series, const PlotOptions& options = {});

/// "▁▃▅▇█": one character a value, from the lowest to the highest; gaps are spaces, all equal is the middle. More than
/// `width` values are averaged into that many. ASCII: "_.-^" in four heights.
std::string sparkline(std::span<const double> values, std::size_t width = 16, bool utf8 = true);

/// Round numbers (1, 2, 2.5, 5 times a power of ten) from `low` to `high`, at most `most` of them, at least one.
std::vector<double> nice_ticks(double low, double high, int most);

}  // namespace trainctl::cli
