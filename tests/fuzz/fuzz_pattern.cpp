// SPDX-License-Identifier: Apache-2.0
// A pattern (the first line of the input) and a log (the rest): nothing crashes or hangs, and how the log is cut does
// not change what is found.
// compiled with: host/metrics/patterns.cpp host/metrics/keras_bars.cpp host/metrics/presets.cpp
// compiled with: host/metrics/scanner.cpp
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "format/metric.hpp"
#include "host/metrics/patterns.hpp"
#include "host/metrics/scanner.hpp"

namespace {

std::string scan(const trainctl::host::PatternSet& patterns, std::string_view log, std::size_t piece) {
  trainctl::host::PatternScanner scanner(patterns, 0);
  std::vector<trainctl::format::MetricPoint> points;
  for (std::size_t at = 0; at < log.size(); at += piece) scanner.feed(log.substr(at, piece), {}, points);
  scanner.finish({}, points);
  if (scanner.consumed() != log.size()) std::abort();
  std::string out;
  for (const auto& point : points) trainctl::format::encode_metric(point, out);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trainctl::host;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(input.find('\n'), input.size());
  const std::vector<std::string> patterns = {std::string(input.substr(0, end)), "loss {loss}", "(?P<step>\\d+):"};
  const trainctl::Errors errors = check_patterns(patterns);
  auto set = compile_patterns(patterns);
  if (set.has_value() != errors.empty()) std::abort();
  if (!set) return 0;
  const std::string_view log = input.substr(std::min(end + 1, input.size()));
  const std::string whole = scan(*set, log, log.size() + 1);
  if (scan(*set, log, 1) != whole || scan(*set, log, 5) != whole) std::abort();
  return 0;
}
