// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "format/metric.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::format;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

std::optional<MetricPoint> decode(std::string_view line) {
  MetricPoint point;
  if (!decode_metric(line, point)) return std::nullopt;
  return point;
}

std::string encode(const MetricPoint& point) {
  std::string line;
  encode_metric(point, line);
  return line;
}

std::int64_t micros(const MetricPoint& point) {
  return point.t.time_since_epoch().count();
}

}  // namespace

TEST_CASE("a metric line of the published shape is read", "[metric]") {
  const auto point = decode(R"({"t":1795400881.123456,"step":1,"name":"loss","value":0.3,"rank":2})");
  REQUIRE(point);
  CHECK(micros(*point) == 1795400881123456);
  CHECK(point->step == 1);
  CHECK(point->name == "loss");
  CHECK(point->value == 0.3);
  CHECK(point->rank == 2);
  CHECK_FALSE(decode(R"({"t":1.5,"step":null,"name":"a","value":-1e-300,"rank":0})")->step);
}

TEST_CASE("special values are text", "[metric]") {
  CHECK(std::isnan(decode(R"({"t":1,"step":1,"name":"a","value":"NaN","rank":0})")->value));
  CHECK(decode(R"({"t":1,"step":1,"name":"a","value":"Infinity","rank":0})")->value == kInf);
  CHECK(decode(R"({"t":1,"step":1,"name":"a","value":"-Infinity","rank":0})")->value == -kInf);
  CHECK_FALSE(decode(R"({"t":1,"step":1,"name":"a","value":"0.3","rank":0})"));
  CHECK(parse_special_number("+inf") == kInf);
  CHECK(parse_special_number("-INF") == -kInf);
  CHECK_FALSE(parse_special_number("info"));
}

TEST_CASE("other spellings of a metric line are understood", "[metric]") {
  const auto spaced = decode(R"( { "name": "größe\n", "value": 3, "t": "2026-11-23T02:28:01.5Z", "more": [1] } )");
  REQUIRE(spaced);
  CHECK(spaced->name == "größe\n");
  CHECK(spaced->value == 3.0);
  CHECK(spaced->rank == 0);
  CHECK(micros(*spaced) % 1'000'000 == 500'000);
  CHECK(decode(R"({"t":1,"step":2.0,"name":"a","value":true,"rank":0})")->step == 2);
  CHECK(decode("{\"t\":1,\"step\":2,\"name\":\"a\",\"value\":1,\"rank\":0}\r")->value == 1.0);
}

TEST_CASE("what is no metric is not read", "[metric]") {
  for (const char* line :
       {"", "{}", "x", "[1]", R"({"type":"param","t":1,"name":"lr","value":1,"rank":0})", R"({"t":1,"name":"a"})",
        R"({"t":1,"step":1,"name":"","value":1,"rank":0})", R"({"t":1,"step":1,"name":"a","value":null,"rank":0})",
        R"({"t":1,"step":1,"name":"a","value":1,"rank":-1})", R"({"t":1e300,"step":1,"name":"a","value":1,"rank":0})",
        R"({"t":1,"step":1,"name":"a","value":1,"rank":0}})", R"({"t":1,"step":1,"name":"a","value":1,"rank":0)",
        R"({"t":inf,"step":1,"name":"a","value":1,"rank":0})", R"({"t":1,"step":1,"name":"a","value":nan,"rank":0})"}) {
    INFO(line);
    CHECK_FALSE(decode(line));
  }
}

TEST_CASE("a whole line glued to a torn one is read", "[metric]") {
  const std::string whole = R"({"t":5.000000,"step":7,"name":"b","value":2,"rank":1})";
  const std::string torn = R"({"t":4.000000,"step":6,"name":"a","value":1,"rank":1})";
  for (std::size_t cut = 0; cut <= torn.size(); ++cut) {
    const auto point = decode(torn.substr(0, cut) + whole);
    INFO(cut);
    REQUIRE(point);
    CHECK(point->name == "b");
    CHECK(point->step == 7);
  }
}

TEST_CASE("what is encoded is decoded", "[metric]") {
  MetricPoint point;
  point.t = base::WallTime(std::chrono::microseconds(1795400881000007));
  point.rank = 65535;
  const double values[] = {0.1, -0.0, 1e308, 5e-324, 1e16, 123456789.123456789, kInf, -kInf, 42, -7};
  const std::optional<std::int64_t> steps[] = {std::nullopt, 0, -1, INT64_MAX, INT64_MIN};
  const std::string names[] = {"loss", "val/größe", "a\"b\\c", std::string("\0\n\x1f", 3), "\xF0\x9F\x98\x80", "\x7f"};
  for (const double value : values) {
    for (const auto& step : steps) {
      for (const std::string& name : names) {
        point.value = value;
        point.step = step;
        point.name = name;
        const std::string line = encode(point);
        REQUIRE(line.back() == '\n');
        const auto back = decode(std::string_view(line).substr(0, line.size() - 1));
        INFO(line);
        REQUIRE(back);
        CHECK(back->name == name);
        CHECK(back->value == value);
        CHECK(std::signbit(back->value) == std::signbit(value));
        CHECK(back->step == step);
        CHECK(back->t == point.t);
        CHECK(back->rank == point.rank);
      }
    }
  }
}

TEST_CASE("an encoded line stays whole and below its limit", "[metric]") {
  MetricPoint point;
  point.step = INT64_MIN;
  point.value = -1.2345678901234567e-300;
  point.rank = INT32_MAX;
  for (const std::string& name : {std::string(5000, 'x'), std::string(5000, '\x01'), std::string(5000, '"'),
                                  std::string(), std::string("\xff\xfe"), std::string(1023, 'x') + "ü"}) {
    point.name = name;
    const std::string line = encode(point);
    CHECK(line.size() <= kMaxMetricLine);
    CHECK(line.find('\n') == line.size() - 1);
    const auto back = decode(std::string_view(line).substr(0, line.size() - 1));
    REQUIRE(back);
    CHECK_FALSE(back->name.empty());
  }
}

TEST_CASE("a text of lines is read up to its last newline", "[metric]") {
  std::string text;
  MetricPoint point;
  point.name = "a";
  for (int i = 0; i < 3; ++i) encode_metric(point, text);
  const std::size_t whole = text.size() + 8;
  text += "damaged\n{\"t\":1,\"st";
  std::vector<MetricPoint> points;
  CHECK(decode_metrics(text, "script", points) == whole);
  REQUIRE(points.size() == 3);
  CHECK(points[2].source == "script");
}

TEST_CASE("metric files have names that say their source", "[metric]") {
  CHECK(metric_file_name("pattern", 3) == "pattern-r3.jsonl");
  const auto script = parse_metric_file("script-r12.jsonl");
  REQUIRE(script);
  CHECK(script->source == "script");
  CHECK(script->rank == 12);
  CHECK(script->node == -1);
  const auto node = parse_metric_file("system-n1.jsonl");
  REQUIRE(node);
  CHECK(node->source == "system");
  CHECK(node->node == 1);
  const auto both = parse_metric_file("my-source-r3-n1.jsonl");
  REQUIRE(both);
  CHECK(both->source == "my-source");
  CHECK((both->rank == 3 && both->node == 1));
  for (const char* name : {"script.jsonl", "script-r.jsonl", "script-rx.jsonl", "script-r1", "-r1.jsonl",
                           "pattern-r0.cursor", "script-r99999999999.jsonl", ".x-r0.jsonl"}) {
    INFO(name);
    CHECK_FALSE(parse_metric_file(name));
  }
}

TEST_CASE("other records of a script are told apart", "[metric]") {
  const auto param = decode_script_record(R"({"type":"param","t":1.0,"name":"lr","value":0.1,"rank":0})");
  REQUIRE(param);
  CHECK((*param)["value"] == 0.1);
  CHECK_FALSE(decode_script_record(R"({"type":"cursor","offset":1})"));
  CHECK_FALSE(decode_script_record(R"({"type":"param","t":1.0})"));
  CHECK_FALSE(decode_script_record(R"({"t":1,"step":1,"name":"a","value":1,"rank":0})"));
}
