// SPDX-License-Identifier: Apache-2.0
#include "host/metrics/cursor_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "format/metric.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

std::filesystem::path points_path(const std::filesystem::path& directory, int rank) {
  return directory / format::metric_file_name("pattern", rank);
}

std::filesystem::path cursor_path(const std::filesystem::path& directory, int rank) {
  return directory / ("pattern-r" + std::to_string(rank) + ".cursor");
}

struct Cursor {
  std::uint64_t offset = 0;
  std::uint64_t points = 0;
  std::optional<std::int64_t> step = {};
};

/// The last whole cursor line that fits the points file; the start when there is none.
Cursor last_cursor(std::string_view text, std::uint64_t points_size) {
  Cursor found;
  std::size_t begin = 0;
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n', begin)) {
    const auto json = base::parse_json(text.substr(begin, end - begin));
    begin = end + 1;
    if (!json || !json->is_object() || json->value("type", Json()) != "cursor") continue;
    const auto offset = json->find("offset");
    const auto points = json->find("points");
    const auto step = json->find("step");
    if (offset == json->end() || !offset->is_number_unsigned()) continue;
    if (points == json->end() || !points->is_number_unsigned() || points->get<std::uint64_t>() > points_size) continue;
    found = {.offset = offset->get<std::uint64_t>(), .points = points->get<std::uint64_t>(), .step = {}};
    if (step != json->end() && step->is_number_integer()) found.step = step->get<std::int64_t>();
  }
  return found;
}

}  // namespace

Result<> PatternOutput::open_files() {
  if (points_) return {};
  TRY(base::make_directories(directory_));
  constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW;
  TRY_ASSIGN(cursor_, base::open_file(cursor_path(directory_, rank_), kFlags));
  TRY_ASSIGN(points_, base::open_file(points_path(directory_, rank_), kFlags));
  return {};
}

Result<PatternOutput::State> PatternOutput::recover() {
  State state;
  TRY_ASSIGN(const auto cursors, base::read_file_if_exists(cursor_path(directory_, rank_)));
  TRY_ASSIGN(const auto points, base::read_file_if_exists(points_path(directory_, rank_)));
  if (!cursors && !points) return state;
  TRY(open_files());
  if (cursors && !cursors->empty() && cursors->back() != '\n') TRY(base::write_all(cursor_.get(), "\n"));
  if (!points) return state;
  std::string text = *points;
  if (!text.empty() && text.back() != '\n') {
    TRY(base::write_all(points_.get(), "\n"));
    text += '\n';
  }
  size_ = text.size();
  const Cursor cursor = last_cursor(cursors.value_or(""), size_);
  std::vector<format::MetricPoint> behind;
  format::decode_metrics(std::string_view(text).substr(cursor.points), "pattern", behind);
  skip_ = behind.size();
  state.offset = cursor.offset;
  state.step = cursor.step;
  state.written = skip_;
  return state;
}

void PatternOutput::add(const std::vector<format::MetricPoint>& points) {
  const std::size_t left_out = std::min<std::uint64_t>(skip_, points.size());
  skip_ -= left_out;
  for (std::size_t i = left_out; i < points.size(); ++i) format::encode_metric(points[i], queue_);
}

Result<> PatternOutput::flush() {
  if (queue_.empty()) return {};
  TRY(open_files());
  std::size_t done = 0;
  int error = 0;
  while (done < queue_.size()) {
    const ssize_t count = ::write(points_.get(), queue_.data() + done, queue_.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      error = errno;
      break;
    }
    done += static_cast<std::size_t>(count);
  }
  size_ += done;
  queue_.erase(0, done);
  if (error != 0) return fail_errno("write " + points_path(directory_, rank_).string(), error);
  return {};
}

Result<> PatternOutput::write_cursor(std::uint64_t offset, std::optional<std::int64_t> step) {
  TRY(open_files());
  const Json line = {
      {"type", "cursor"}, {"offset", offset}, {"points", size_}, {"step", step ? Json(*step) : Json(nullptr)}};
  return base::write_all(cursor_.get(), base::dump_json(line) + "\n");
}

}  // namespace trainctl::host
