// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "cli/metric_table.hpp"
#include "cli/output.hpp"
#include "cli/plot.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::cli;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

PlotSeries series(std::string name, int count, double (*f)(double)) {
  PlotSeries out{std::move(name), {}};
  for (int i = 0; i < count; ++i) out.points.push_back({double(i), f(i)});
  return out;
}

void check_shape(const std::string& text, int width, int height) {
  const auto lines = base::split(text, '\n');
  CHECK(lines.back().empty());
  CHECK(static_cast<int>(lines.size()) - 1 <= height);
  for (const std::string& line : lines) {
    INFO(text);
    CHECK(static_cast<int>(display_width(line)) <= width);
    CHECK((line.empty() || line.back() != ' '));
  }
}

}  // namespace

TEST_CASE("a rising line in ASCII", "[plot]") {
  const std::vector<PlotSeries> one = {series("loss", 11, [](double x) { return x; })};
  CHECK(plot(one, {.width = 30, .height = 9, .utf8 = false}) ==
        "10 +                      ****\n"
        "   |                 *****\n"
        " 5 +            *****\n"
        "   |       *****\n"
        "   |  *****\n"
        " 0 +**\n"
        "   ++------------+-----------+\n"
        "    0            5          10\n"
        "  * loss\n");
}

TEST_CASE("plots of every size keep to it", "[plot]") {
  const std::vector<PlotSeries> two = {
      series("loss", 1000, [](double x) { return std::exp(-x / 200) + 0.01 * std::sin(x); }),
      series("val/loss", 20, [](double x) { return 1 / (x + 1); })};
  for (const bool utf8 : {true, false})
    for (const bool log_y : {true, false})
      for (const bool time_x : {true, false})
        for (const int width : {20, 33, 80, 211})
          for (const int height : {5, 8, 16, 50})
            check_shape(plot(two, {.width = width, .height = height, .log_y = log_y, .time_x = time_x, .utf8 = utf8}),
                        width, std::max(height, 6));
}

TEST_CASE("several series differ by mark and by colour", "[plot]") {
  const std::vector<PlotSeries> two = {series("a", 50, [](double x) { return x; }),
                                       series("b", 50, [](double x) { return 50 - x; })};
  const std::string plain = plot(two, {.width = 60, .height = 12});
  CHECK(plain.find("● a   ▲ b") != std::string::npos);
  CHECK(plain.find("▲") < plain.rfind("▲"));
  CHECK(plain.find('\x1b') == std::string::npos);
  const std::string colored = plot(two, {.width = 60, .height = 12, .colors = true});
  CHECK(colored.find("\x1b[36m") != std::string::npos);
  CHECK(colored.find("\x1b[33m") != std::string::npos);
  const std::string ascii = plot(two, {.width = 60, .height = 12, .utf8 = false});
  CHECK(std::all_of(ascii.begin(), ascii.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; }));
}

TEST_CASE("gaps, single points and nothing at all", "[plot]") {
  const PlotSeries gap = series("g", 11, [](double x) { return x == 5 ? kNan : 1.0; });
  const std::string text = plot(std::vector{gap}, {.width = 24, .height = 6, .utf8 = false});
  CHECK(text.find("***  ") != std::string::npos);
  const std::vector<PlotSeries> lone = {{"p", {{7, 0.5}}}};
  CHECK(plot(lone, {.width = 40, .height = 8}).find("●") != std::string::npos);
  const std::vector<PlotSeries> none = {{"empty", {}}, {"inf", {{1, kInf}, {2, -kInf}, {kNan, 1}}}};
  CHECK(plot(none).find("empty (no values)") != std::string::npos);
  CHECK(plot({}).empty());
  const std::vector<PlotSeries> negative = {{"n", {{0, -1}, {1, 0}, {2, 10}, {3, 1000}}}};
  CHECK(plot(negative, {.log_y = true}).find("1000") != std::string::npos);
  const std::vector<PlotSeries> below = {{"n", {{0, -1}}}};
  CHECK(plot(below, {.log_y = true}).find("no values") != std::string::npos);
}

TEST_CASE("extreme values do not break a plot", "[plot]") {
  const double most = std::numeric_limits<double>::max();
  const std::vector<std::vector<PlotPoint>> cases = {{{0, -most}, {1, most}},      {{-most, 0}, {most, 1}},
                                                     {{0, 5e-324}, {1, 1e-323}},   {{0, 1}, {1, std::nextafter(1, 2)}},
                                                     {{0, 1e15}, {1, 1e15 + 1}},   {{5, 1}, {3, 2}, {4, 0}},
                                                     {{1e18, 1}, {1e18 + 512, 2}}, {{0, 0}, {0, 0}}};
  for (const auto& points : cases)
    for (const bool log_y : {false, true})
      for (const bool utf8 : {false, true})
        check_shape(
            plot(std::vector{PlotSeries{"x", points}}, {.width = 60, .height = 10, .log_y = log_y, .utf8 = utf8}), 60,
            10);
}

TEST_CASE("no peak is lost where many points share a column", "[plot]") {
  const PlotSeries spike = series("s", 100000, [](double x) { return x == 77777 ? 1.0 : 0.0; });
  const std::string text = plot(std::vector{spike}, {.width = 40, .height = 10, .utf8 = false});
  CHECK(base::split(text, '\n')[0].find('*') != std::string::npos);
}

TEST_CASE("a name cannot write to the terminal", "[plot]") {
  const std::vector<PlotSeries> bad = {{"a\x1b[31m\nb", {{0, 1}, {1, 2}}}};
  CHECK(plot(bad).find('\x1b') == std::string::npos);
}

TEST_CASE("ticks are round numbers", "[plot]") {
  CHECK(nice_ticks(0, 10, 6) == std::vector<double>{0, 2, 4, 6, 8, 10});
  CHECK(nice_ticks(0.13, 0.88, 3) == std::vector<double>{0.25, 0.5, 0.75});
  CHECK(nice_ticks(-1, 1, 3) == std::vector<double>{-1, 0, 1});
  CHECK(nice_ticks(3, 3, 3) == std::vector<double>{3});
  for (int most = 1; most < 20; ++most)
    for (const double high : {1e-300, 0.017, 3.0, 99.0, 1e9, 1e300})
      CHECK(static_cast<int>(nice_ticks(0, high, most).size()) <= most);
}

TEST_CASE("sparklines", "[plot]") {
  CHECK(sparkline(std::vector<double>{0, 1, 2, 3, 4, 5, 6, 7}) == "▁▂▃▄▅▆▇█");
  CHECK(sparkline(std::vector<double>{1, kNan, 1}) == "▅ ▅");
  CHECK(sparkline(std::vector<double>{}).empty());
  CHECK(sparkline(std::vector<double>{0, 1}, 16, false) == "_^");
  CHECK(display_width(sparkline(std::vector<double>(1000, 2.0), 10)) == 10);
  CHECK(sparkline(std::vector<double>{-1e308, 1e308}) == "▁█");
}

TEST_CASE("the metric table shows last and best values", "[plot]") {
  const std::vector<MetricRow> rows = {{.name = "loss",
                                        .points = 1200,
                                        .last = 0.25,
                                        .step = 99,
                                        .lowest = 0.2,
                                        .highest = 3,
                                        .best_step = 80,
                                        .curve = {3, 1, 0.2}},
                                       {.name = "accuracy",
                                        .points = 3,
                                        .last = 0.967,
                                        .step = 3,
                                        .lowest = 0.5,
                                        .highest = 0.97,
                                        .best_step = {},
                                        .curve = {}},
                                       {.name = "lr",
                                        .points = 1,
                                        .last = 1e-5,
                                        .step = {},
                                        .lowest = 1e-5,
                                        .highest = 1e-5,
                                        .best_step = {},
                                        .curve = {1e-5}}};
  CHECK(metric_table(rows, {.primary = "loss", .goal = Goal::minimize}) ==
        "METRIC     LAST  STEP      BEST  POINTS\n"
        "* loss     0.25    99  0.2 @ 80   1,200  █▃▁\n"
        "accuracy  0.967     3      0.97       3\n"
        "lr        1e-05                       1\n");
  for (const int width : {0, 20, 30, 40}) {
    for (const std::string& line : base::split(metric_table(rows, {.width = width}), '\n'))
      CHECK(static_cast<int>(display_width(line)) <= std::max(width, 20));
  }
  CHECK(parse_goal("Maximize") == Goal::maximize);
  CHECK(parse_goal("") == Goal::none);
  CHECK(guess_goal("val/RMSE") == Goal::minimize);
  CHECK(guess_goal("train/acc") == Goal::maximize);
  CHECK(guess_goal("lr") == Goal::none);
}
