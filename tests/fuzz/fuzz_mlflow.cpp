// SPDX-License-Identifier: Apache-2.0
// The MLflow endpoint: any bytes as HTTP, cut anywhere, and what they ask for. First byte: where they are cut.
// compiled with: host/mlflow/api.cpp host/mlflow/http.cpp host/mlflow/search.cpp
// compiled with: host/mlflow/tracking.cpp host/mlflow/views.cpp
// compiled with: host/metrics/patterns.cpp host/metrics/keras_bars.cpp host/metrics/presets.cpp
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "format/metric.hpp"
#include "host/mlflow/api.hpp"
#include "host/mlflow/http.hpp"

namespace {

using namespace trainctl;
using namespace trainctl::host;

/// Body of the request, when all of it is there; `rest` moves behind it.
bool take_body(const HttpHead& head, std::string_view& rest, std::size_t cut, std::string& body) {
  HttpBody reader(head);
  const auto sink = [&body](std::string_view part) { body.append(part); };
  std::size_t window = cut;
  while (!reader.done() && !reader.malformed()) {
    const std::size_t used = reader.feed(rest.substr(0, window), sink);
    if (used > rest.size()) std::abort();
    rest.remove_prefix(used);
    if (used == 0 && window >= rest.size()) break;
    window = used == 0 ? window * 2 : cut;
  }
  return reader.done();
}

void check(const ApiAnswer& answer) {
  if (answer.status < 200 || answer.status > 599) std::abort();
  if (answer.type == "application/json" && !base::parse_json(answer.body)) std::abort();
  std::string lines;
  for (const Json& record : answer.records) encode_record(record, lines);
  for (const auto& point : answer.points) format::encode_metric(point, lines);
  while (!lines.empty()) {
    const auto end = lines.find('\n');
    if (end == std::string::npos || end >= format::kMaxMetricLine) std::abort();
    lines.erase(0, end + 1);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const std::size_t cut = std::size_t{1} + data[0] % 64;
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  Tracking tracking("01run", "digits-1", "Default", 1);
  for (int i = 0; i < 20 && !rest.empty(); ++i) {
    HttpHead head;
    const HeadOutcome outcome = parse_http_head(rest, head);
    if (outcome.status != 0 || outcome.used == 0) break;
    if (outcome.used > rest.size()) std::abort();
    rest.remove_prefix(outcome.used);
    std::string body;
    if (!take_body(head, rest, cut, body)) break;
    const auto path = percent_decode(head.path, false);
    const ApiRequest request{head.method, path.value_or("/"), head.query, body};
    const ApiContext context{.now = base::WallTime(std::chrono::seconds(1)), .fresh_id = "fresh" + std::to_string(i)};
    const ApiAnswer answer = answer_mlflow(tracking, request, context);
    check(answer);
    for (const Json& record : answer.records) tracking.apply(record);
    for (const auto& point : answer.points) tracking.apply(point);
    const std::string target = artifact_path(tracking, path.value_or(""));
    if (target == ".." || target.starts_with("/") || target.starts_with("../") ||
        target.find("/../") != std::string::npos)
      std::abort();
  }
  return 0;
}
