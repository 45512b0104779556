// SPDX-License-Identifier: Apache-2.0
#include "host/metrics/source_points.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "format/event.hpp"
#include "format/metric.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kNoteEvery = std::uint64_t{16}
                                     << 20U;  ///< bytes of points between two cursor lines of one file

struct CursorLine {
  std::string file;
  SourcePoints::Done done;
  std::uint64_t points = 0;
};

std::optional<CursorLine> read_cursor(const Json& line) {
  const auto file = line.find("file");
  const auto prefix = line.find("prefix");
  const auto offset = line.find("offset");
  const auto points = line.find("points");
  if (file == line.end() || !file->is_string() || prefix == line.end() || !prefix->is_string()) return std::nullopt;
  if (offset == line.end() || !offset->is_number_unsigned() || points == line.end() || !points->is_number_unsigned())
    return std::nullopt;
  return CursorLine{file->get<std::string>(),
                    {offset->get<std::uint64_t>(), prefix->get<std::string>()},
                    points->get<std::uint64_t>()};
}

}  // namespace

Result<> SourcePoints::open_files() {
  if (points_) return {};
  TRY(base::make_directories(directory_));
  constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW;
  TRY_ASSIGN(cursor_, base::open_file(directory_ / (source_ + "-r0.cursor"), kFlags));
  TRY_ASSIGN(points_, base::open_file(directory_ / format::metric_file_name(source_, 0), kFlags));
  return {};
}

Result<std::map<std::string, SourcePoints::Done>> SourcePoints::recover() {
  std::map<std::string, Done> files;
  TRY_ASSIGN(const auto cursors, base::read_file_if_exists(directory_ / (source_ + "-r0.cursor")));
  TRY_ASSIGN(const auto points, base::read_file_if_exists(directory_ / format::metric_file_name(source_, 0)));
  if (!cursors) return files;
  TRY(open_files());
  if (!cursors->empty() && cursors->back() != '\n') TRY(base::write_all(cursor_.get(), "\n"));
  std::string text = points.value_or("");
  if (!text.empty() && text.back() != '\n') {
    TRY(base::write_all(points_.get(), "\n"));
    text += '\n';
  }
  written_ = text.size();
  CursorLine last;
  for (const Json& json : format::parse_lines(*cursors)) {
    auto line = read_cursor(json);
    if (!line || line->points > written_) continue;  // the points it counts were never written
    files[line->file] = line->done;
    last = std::move(*line);
  }
  std::vector<format::MetricPoint> behind;
  format::decode_metrics(std::string_view(text).substr(last.points), source_, behind);
  tail_file_ = last.file;
  skip_ = behind.size();
  return files;
}

void SourcePoints::queue_cursor(const std::string& file, const Done& done) {
  points_noted_ = written_ + queue_.size();
  const Json line = {
      {"type", "cursor"}, {"file", file}, {"prefix", done.prefix}, {"offset", done.offset}, {"points", points_noted_}};
  cursor_queue_ += base::dump_json(line) + "\n";
  noted_ = done.offset;
}

void SourcePoints::begin(const std::string& file, const Done& done) {
  if (file == file_ && done.offset == done_.offset) return;
  if (!file_.empty() && file_ != file && done_.offset != noted_) queue_cursor(file_, done_);
  file_ = file;
  done_ = done;
  // Points of an earlier process stand behind the last line: it stays the last one until they are passed.
  if (skip_ > 0 && file == tail_file_) {
    noted_ = done.offset;
    return;
  }
  queue_cursor(file, done);
}

void SourcePoints::add(const format::MetricPoint& point) {
  if (skip_ > 0 && file_ == tail_file_) {
    --skip_;
    return;
  }
  format::encode_metric(point, queue_);
}

void SourcePoints::reach(std::uint64_t offset) {
  done_.offset = offset;
  const std::uint64_t points = written_ + queue_.size();
  if (points - points_noted_ >= kNoteEvery && skip_ == 0) queue_cursor(file_, done_);
}

Result<> SourcePoints::drain(const base::UniqueFd& fd, std::string& queue, const char* kind) {
  std::size_t done = 0;
  int error = 0;
  while (done < queue.size() && error == 0) {
    const ssize_t count = ::write(fd.get(), queue.data() + done, queue.size() - done);
    if (count >= 0)
      done += static_cast<std::size_t>(count);
    else if (errno != EINTR)
      error = errno;
  }
  queue.erase(0, done);
  if (&queue == &queue_) written_ += done;
  if (error != 0) return fail_errno("write the " + std::string(kind) + " of " + source_, error);
  return {};
}

Result<> SourcePoints::flush() {
  // Files without points leave no trace: their cursors wait for the first point of any file.
  if (queue_.empty() && written_ == 0) return {};
  if (queue_.empty() && cursor_queue_.empty()) return {};
  TRY(open_files());
  TRY(drain(cursor_, cursor_queue_, "cursors"));
  return drain(points_, queue_, "points");
}

}  // namespace trainctl::host
