// SPDX-License-Identifier: Apache-2.0
// Metric lines: whatever is read is written again as a line that reads the same.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "format/metric.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trainctl::format;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<MetricPoint> points;
  if (decode_metrics(text, "script", points) > size) std::abort();
  MetricPoint last;
  if (decode_metric(text, last)) points.push_back(last);
  for (const MetricPoint& point : points) {
    std::string line;
    encode_metric(point, line);
    if (line.size() > kMaxMetricLine || line.back() != '\n') std::abort();
    line.pop_back();
    MetricPoint again;
    if (!decode_metric(line, again)) std::abort();
    if (again.step != point.step || again.rank != point.rank) std::abort();
    if (std::isnan(point.value) ? !std::isnan(again.value) : again.value != point.value) std::abort();
    // Only names that take more than a line when escaped are cut.
    if (point.name.size() < 512 && again.name != point.name) std::abort();
  }
  (void)decode_script_record(text);
  (void)parse_metric_file(text);
  return 0;
}
