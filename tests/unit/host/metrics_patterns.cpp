// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/metric.hpp"
#include "host/metrics/patterns.hpp"
#include "host/metrics/scanner.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"

using namespace trainctl;
using namespace trainctl::host;

namespace {

PatternSet compile(const std::vector<std::string>& patterns) {
  auto set = compile_patterns(patterns);
  if (!set) FAIL(set.error().message);
  return std::move(*set);
}

std::string show(const std::vector<format::MetricPoint>& points) {
  std::string text;
  for (const auto& point : points) {
    text += point.name + (point.step ? "@" + std::to_string(*point.step) : "") + "=";
    format::append_metric_value(point.value, text);
    text += " ";
  }
  return text;
}

std::string scan(const std::vector<std::string>& patterns, std::string_view log, std::size_t piece = 1 << 20) {
  const PatternSet set = compile(patterns);
  PatternScanner scanner(set, 0);
  std::vector<format::MetricPoint> points;
  for (std::size_t at = 0; at < log.size(); at += piece) scanner.feed(log.substr(at, piece), {}, points);
  scanner.finish({}, points);
  CHECK(scanner.consumed() == log.size());
  return show(points);
}

std::string error_of(const std::string& pattern) {
  const std::vector<std::string> patterns = {"fine {x}", pattern};
  const auto set = compile_patterns(patterns);
  if (set) return "";
  CHECK(set.error().code == Errc::invalid);
  CHECK(set.error().field == "metrics.patterns[1]");
  return set.error().message;
}

}  // namespace

TEST_CASE("a text with places finds numbers", "[patterns]") {
  CHECK(scan({"epoch {step}: loss {loss}"}, "epoch 3: loss 0.25\n") == "loss@3=0.25 ");
  CHECK(scan({"epoch {step}/{_} loss {loss} acc {val/acc}"}, "Epoch\nepoch 3/10  loss\t1e-05 acc 97%\n") ==
        "loss@3=1e-05 val/acc@3=0.97 ");
  CHECK(scan({"acc: {acc}%"}, "acc: 97%\n") == "acc=97 ");
  CHECK(scan({"[{step}] a={a}, b=({b})"}, "[7] a=-1.5e+3, b=(.5)") == "a@7=-1500 b@7=0.5 ");
  CHECK(scan({"{{\"loss\": {loss}}}"}, "{\"loss\": 0.5}\n") == "loss=0.5 ");
  CHECK(scan({"größe {größe}"}, "größe 4\n") == "größe=4 ");
}

TEST_CASE("a place begins at a word of its own", "[patterns]") {
  CHECK(scan({"loss {loss}"}, "val_loss 1\nval/loss 2\nloss 3\n(loss 4)\n") == "loss=3 loss=4 ");
}

TEST_CASE("an expression with named groups finds numbers", "[patterns]") {
  CHECK(scan({R"((?P<loss>\d+\.\d+) at (?<step>\d+))"}, "0.5 at 12\n") == "loss@12=0.5 ");
  CHECK(scan({R"(a=(?P<a>\S+)(?: b=(?P<b>\S+))?)"}, "a=1\na=2 b=3\na=x b=4\n") == "a=1 a=2 b=3 b=4 ");
  CHECK(scan({R"((?:x=(?P<v>\d)|y=(?P<v>\d)))"}, "x=1\ny=2\n") == "v=1 v=2 ");
}

TEST_CASE("special numbers", "[patterns]") {
  CHECK(scan({"loss {loss}"}, "loss nan\nloss NaN\nloss inf\nloss -Infinity\nloss +2\n") ==
        "loss=\"NaN\" loss=\"NaN\" loss=\"Infinity\" loss=\"-Infinity\" loss=2 ");
  for (const char* text : {"", "x", "-", "+", "--1", "1,5", "1e", "nan(1)", "-nan(ind)", "0x10", "%", "1e999"}) {
    INFO(text);
    CHECK_FALSE(parse_captured_number(text));
  }
  CHECK(parse_captured_number(" 12.5% ") == 0.125);
}

TEST_CASE("a step holds until the next one", "[patterns]") {
  CHECK(scan({"loss {loss}", "epoch {step}"}, "loss 9\nepoch 1\nloss 0.5\nloss 0.4 epoch 2\n") ==
        "loss=9 loss@1=0.5 loss@2=0.4 ");
}

TEST_CASE("progress bars and terminal escapes", "[patterns]") {
  CHECK(scan({"loss: {loss}"}, "1/2 loss: 0.5\r2/2 loss: 0.4\r\n") == "loss=0.5 loss=0.4 ");
  CHECK(scan({"loss: {loss}"}, "loss: 0.5\b\b\b\b\b\b\b\b\bloss: 0.4\n") == "loss=0.5 loss=0.4 ");
  CHECK(scan({"loss: {loss}"}, "\x1b[1mloss\x1b[0m: \x1b[38;5;9m0.5\x1b[K\n") == "loss=0.5 ");
  CHECK(scan({"loss: {loss}"}, "\x1b]0;title\aloss: \x1b(B0.5\n") == "loss=0.5 ");
  CHECK(scan({"loss: {loss}"}, "\x1b]8;;http://x\x1b\\loss: 0.5\x1b\n") == "loss=0.5 ");
}

TEST_CASE("how the log is cut does not change what is found", "[patterns]") {
  std::string log;
  for (int i = 0; i < 50; ++i) {
    log += "\x1b[32mepoch " + std::to_string(i) + "\x1b[0m: loss 0." + std::to_string(i) + "\r\n";
    log += std::string("\0\xff\xfe noise", 9) + "\n\n";
  }
  log += "epoch 99: loss 1";
  const std::string whole = scan({"epoch {step}: loss {loss}"}, log);
  CHECK(whole.find("loss@49=0.49 loss@99=1 ") != std::string::npos);
  for (const std::size_t piece : {1U, 2U, 3U, 7U, 64U, 1000U})
    CHECK(scan({"epoch {step}: loss {loss}"}, log, piece) == whole);
}

TEST_CASE("a line longer than the limit is skipped with one warning", "[patterns]") {
  const PatternSet set = compile({"loss {loss}"});
  PatternScanner scanner(set, 0);
  std::vector<format::MetricPoint> points;
  const std::string flood(kMaxScannedLine + 1, 'x');
  for (int i = 0; i < 3; ++i) {
    scanner.feed(flood + " loss 1", {}, points);
    scanner.feed(" loss 2\nloss 3\n", {}, points);
  }
  CHECK(show(points) == "loss=3 loss=3 loss=3 ");
  CHECK(scanner.take_warnings().size() == 1);
  CHECK(scanner.take_warnings().empty());
  const std::string longest = std::string(kMaxScannedLine - 7, 'x') + " loss 4";
  points.clear();
  scanner.feed(longest + "\n", {}, points);
  CHECK(show(points) == "loss=4 ");
}

TEST_CASE("an expression that backtracks without end is given up", "[patterns]") {
  const PatternSet set = compile({"^(a+)+(?P<x>b)$", "loss {loss}"});
  PatternScanner scanner(set, 0);
  std::vector<format::MetricPoint> points;
  std::string log;
  for (int i = 0; i < 40; ++i) log += std::string(5000, 'a') + "cb loss 1\n";
  scanner.feed(log, {}, points);
  CHECK(points.size() == 40);
  CHECK(scanner.take_warnings().size() == 2);
}

TEST_CASE("mistakes in patterns say where", "[patterns]") {
  CHECK(error_of("loss (?P<loss>[0-9]+") == "missing closing parenthesis at column 21 of the pattern");
  CHECK(error_of("ü(?P<loss>[0-9]++*)").find("at column 18") != std::string::npos);
  CHECK(error_of("loss [0-9]+").find("no named group") != std::string::npos);
  CHECK(error_of("loss \\d{3}").find("no named group") != std::string::npos);
  CHECK(error_of("{a} and {").find("column 9") != std::string::npos);
  CHECK(error_of("").find("empty") != std::string::npos);
  CHECK(error_of("{_}").find("without any name") != std::string::npos);
  CHECK(error_of("(?P<a>\\C)").find("at column") != std::string::npos);
  CHECK(error_of("{a}\xff").find("UTF-8") != std::string::npos);
  CHECK(error_of(std::string(5000, 'x')).find("4,096") != std::string::npos);
  CHECK(error_of("(?<=x)(?<!y)z").find("no named group") != std::string::npos);
  const std::vector<std::string> bad = {"x", "ok {a}", "("};
  const Errors errors = check_patterns(bad);
  REQUIRE(errors.size() == 2);
  CHECK(errors[1].field == "metrics.patterns[2]");
  CHECK(check_patterns(std::vector<std::string>(200, "{a}")).size() == 1);
}
