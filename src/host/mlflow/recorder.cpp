// SPDX-License-Identifier: Apache-2.0
#include "host/mlflow/recorder.hpp"

#include <fcntl.h>

#include <cerrno>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "format/metric.hpp"
#include "host/mlflow/api.hpp"
#include "host/mlflow/tracking.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

void Recorder::recover() {
  const auto text = base::read_file_if_exists(path_);
  if (!text || !*text) return;
  torn_ = !(*text)->empty() && (*text)->back() != '\n';
  std::string_view rest(**text);
  format::MetricPoint point;
  for (auto end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    if (format::decode_metric(line, point))
      tracking_.apply(point);
    else if (const auto record = base::parse_json(line))
      tracking_.apply(*record);
  }
}

void Recorder::record(ApiAnswer& answer) {
  if (answer.points.empty() && answer.records.empty()) return;
  std::string lines;
  for (Json& record : answer.records) {
    if (record.contains("rank")) record["rank"] = rank_;
    encode_record(record, lines);
    tracking_.apply(record);
  }
  for (format::MetricPoint& point : answer.points) {
    point.rank = rank_;
    format::encode_metric(point, lines);
    tracking_.apply(point);
  }
  write(lines);
}

void Recorder::record_file(const std::string& name, std::uint64_t bytes, base::WallTime now) {
  std::string line;
  encode_record({{"type", "file"},
                 {"t", static_cast<double>(now.time_since_epoch().count()) / 1e6},
                 {"name", name},
                 {"bytes", bytes},
                 {"rank", rank_}},
                line);
  write(line);
}

void Recorder::write(const std::string& lines) {
  const auto written = [&]() -> Result<> {
    if (!file_) {
      TRY(base::make_directories(path_.parent_path()));
      TRY_ASSIGN(file_, base::open_file(path_, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW));
    }
    return base::write_all(file_.get(), torn_ ? "\n" + lines : lines);
  }();
  torn_ = !written;
  if (written || said_) return;
  said_ = true;
  if (warn_) warn_("what MLflow logs cannot be recorded: " + written.error().message);
}

std::vector<format::MetricPoint> Recorder::history(const std::string& name) const {
  std::vector<format::MetricPoint> points;
  const auto text = base::read_file_if_exists(path_);
  if (!text || !*text) return points;
  format::decode_metrics(**text, "mlflow", points);
  std::erase_if(points, [&name](const format::MetricPoint& point) { return point.name != name; });
  return points;
}

}  // namespace trainctl::host
