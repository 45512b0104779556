// SPDX-License-Identifier: Apache-2.0
#include "format/metric_summary.hpp"

#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "format/metric.hpp"
#include "format/paths.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"
#include "unit/base/temp_dir.hpp"

using namespace trainctl;
using namespace trainctl::format;

namespace {

struct Point {
  double value;
  std::int64_t step = 0;
  int rank = 0;
  double t = 1;
};

/// An attempt whose metric files grow.
class Attempt {
 public:
  void write(const std::string& file, const std::vector<Point>& points, std::string_view name = "loss") {
    std::string text = base::read_file_if_exists(paths_.metrics() / file).value().value_or("");
    for (const Point& point : points) {
      const auto us = static_cast<std::int64_t>(point.t * 1e6);
      encode_metric({.t = base::WallTime(std::chrono::microseconds(us)),
                     .step = point.step,
                     .name = std::string(name),
                     .value = point.value,
                     .rank = point.rank},
                    text);
    }
    put(file, text);
  }

  void put(const std::string& file, const std::string& whole) {
    REQUIRE(base::make_directories(paths_.metrics()));
    REQUIRE(base::write_file_atomic(paths_.metrics() / file, whole));
  }

  MetricSummary loss() {
    REQUIRE(summaries.read_growth(paths_));
    return summaries.metrics.at("loss");
  }

  Result<bool> read() { return summaries.read_growth(paths_); }

  MetricSummaries summaries;

 private:
  test::TempDir folder_;
  AttemptPaths paths_{folder_.path() / "1"};
};

}  // namespace

TEST_CASE("of several sources of one name the first in the order of precedence counts", "[metric]") {
  const std::vector<std::string> order = {"script",    "mlflow",  "azureml", "tensorboard",
                                          "lightning", "chainer", "pattern"};
  for (std::size_t better = 0; better < order.size(); ++better) {
    for (std::size_t worse = better + 1; worse < order.size(); ++worse) {
      CAPTURE(order[better], order[worse]);
      const auto name = [&](std::size_t i) { return order[i] + "-r0.jsonl"; };
      Attempt together;
      together.write(name(better), {{.value = 1, .t = 1}});
      together.write(name(worse), {{.value = 2, .t = 2}, {.value = 3, .t = 3}});
      CHECK(together.loss().source == order[better]);
      CHECK(together.loss().last == 1);
      CHECK(together.loss().points == 1);

      Attempt one_by_one;  // what comes before the present one replaces all it had, whenever it comes
      one_by_one.write(name(worse), {{.value = 2, .t = 2}, {.value = 3, .t = 3}});
      CHECK(one_by_one.loss().source == order[worse]);
      one_by_one.write(name(better), {{.value = 1, .t = 1}});
      CHECK(one_by_one.loss().source == order[better]);
      CHECK(one_by_one.loss().last == 1);
      CHECK(one_by_one.loss().highest == 1);
      CHECK(one_by_one.loss().points == 1);
      one_by_one.write(name(worse), {{.value = 4, .t = 4}});
      CHECK(one_by_one.loss().points == 1);
    }
  }
}

TEST_CASE("a source without a place in the order comes last, and names are told apart", "[metric]") {
  Attempt attempt;
  attempt.write("another-r0.jsonl", {{.value = 1}});
  attempt.write("pattern-r0.jsonl", {{.value = 2}});
  attempt.write("another-r0.jsonl", {{.value = 3}}, "accuracy");
  CHECK(attempt.loss().source == "pattern");
  CHECK(attempt.summaries.metrics.at("accuracy").source == "another");
  CHECK(attempt.summaries.metrics.at("accuracy").last == 3);
}

TEST_CASE("of several ranks the lowest one speaks, of a better source also a higher one", "[metric]") {
  Attempt attempt;
  attempt.write("mlflow-r2.jsonl", {{.value = 2, .rank = 2}});
  CHECK(attempt.loss().rank == 2);
  attempt.write("mlflow-r1.jsonl", {{.value = 1, .rank = 1}, {.value = 1.5, .rank = 1}});
  CHECK(attempt.loss().rank == 1);
  CHECK(attempt.loss().points == 2);
  attempt.write("script-r3.jsonl", {{.value = 3, .rank = 3}});
  CHECK(attempt.loss().source == "script");
  CHECK(attempt.loss().rank == 3);
  attempt.write("mlflow-r0.jsonl", {{.value = 0, .rank = 0}});
  CHECK(attempt.loss().last == 3);
}

TEST_CASE("points that stand there twice are counted as written and change no value", "[metric]") {
  Attempt attempt;
  attempt.write("script-r0.jsonl", {{.value = 0.5, .step = 1, .t = 1}, {.value = 0.5, .step = 1, .t = 1}});
  attempt.write("script-r0.jsonl", {{.value = 0.25, .step = 2, .t = 2}});
  const MetricSummary first = attempt.loss();
  CHECK(first.points == 3);
  CHECK(first.step == 2);
  CHECK(first.last == 0.25);
  // Nothing grew: reading again adds nothing.
  CHECK(attempt.read().value() == false);
  CHECK(attempt.loss().points == 3);
  // An older point told late is no newer value.
  attempt.write("script-r0.jsonl", {{.value = 0.9, .step = 0, .t = 0.5}});
  CHECK(attempt.loss().last == 0.25);
  CHECK(attempt.loss().step == 2);
  CHECK(attempt.loss().highest == 0.9);
}

TEST_CASE("NaN is the last value and never the best", "[metric]") {
  Attempt attempt;
  attempt.write("script-r0.jsonl", {{.value = std::numeric_limits<double>::quiet_NaN(), .t = 1}});
  CHECK(std::isnan(attempt.loss().best("minimize")));
  attempt.write("script-r0.jsonl", {{.value = 2, .t = 2}, {.value = 1, .t = 3}});
  attempt.write("script-r0.jsonl", {{.value = std::numeric_limits<double>::quiet_NaN(), .t = 4}});
  CHECK(std::isnan(attempt.loss().last));
  CHECK(attempt.loss().best("minimize") == 1);
  CHECK(attempt.loss().best("maximize") == 2);
  CHECK(std::isnan(attempt.loss().best("")));
}

TEST_CASE("a file that shrank is told, half a line waits for its end", "[metric]") {
  Attempt attempt;
  attempt.put("script-r0.jsonl", "{\"t\":1,\"step\":1,\"name\":\"loss\",\"value\":1,\"rank\":0}\n{\"t\":2,\"st");
  CHECK(attempt.loss().points == 1);
  attempt.put("script-r0.jsonl",
              "{\"t\":1,\"step\":1,\"name\":\"loss\",\"value\":1,\"rank\":0}\n"
              "{\"t\":2,\"step\":2,\"name\":\"loss\",\"value\":0.5,\"rank\":0}\n");
  CHECK(attempt.loss().last == 0.5);
  attempt.put("script-r0.jsonl", "");
  const auto shrunk = attempt.read();
  REQUIRE_FALSE(shrunk);
  CHECK(shrunk.error().code == Errc::invalid);
}
