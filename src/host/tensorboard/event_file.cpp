// SPDX-License-Identifier: Apache-2.0
#include "host/tensorboard/event_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "format/metric.hpp"
#include "host/metrics/source_points.hpp"
#include "host/tensorboard/event.hpp"
#include "host/tensorboard/record.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr const char* kDamaged = "is damaged in places: some of its records were passed over";
constexpr std::uint64_t kPiece = std::uint64_t{1} << 20U;

base::WallTime time_of(double seconds) {
  if (!(seconds > 0 && seconds < 9e12)) return base::wall_now();
  return base::WallTime(std::chrono::microseconds(std::llround(seconds * 1e6)));
}

}  // namespace

Result<> EventFile::advance(SourcePoints& points) {
  if (given_up_) return {};
  struct stat status{};
  if (::stat(path_.c_str(), &status) != 0) return {};  // removed: what it had is kept
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size == seen_size_ && offset_ + std::max<std::uint64_t>(wanted_, 1) > size) return {};
  if (size < offset_) {
    offset_ = 0;  // written anew under the same name
    wanted_ = 0;
  }
  const auto fd = base::open_file(path_, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd) return {};
  points.begin(name_, {.offset = offset_, .prefix = prefix_});
  while (offset_ < size && !given_up_ && read_piece(fd->get(), size, points)) {
    points.reach(offset_);
    if (points.queued() >= kPiece) TRY(points.flush());
  }
  points.reach(offset_);
  seen_size_ = size;
  return {};
}

/// Reads and takes the records of one piece; false when the next record is not all there.
bool EventFile::read_piece(int fd, std::uint64_t size, SourcePoints& points) {
  if (wanted_ > 0 && offset_ + wanted_ > size) return false;
  std::string piece(static_cast<std::size_t>(std::min(std::max(kPiece, wanted_), size - offset_)), '\0');
  const ssize_t count = ::pread(fd, piece.data(), piece.size(), static_cast<off_t>(offset_));
  if (count <= 0) return false;
  std::string_view rest(piece.data(), static_cast<std::size_t>(count));
  const std::uint64_t start = offset_;
  for (;;) {
    const RecordCut cut = cut_record(rest);
    wanted_ = cut.kind == CutKind::partial ? cut.used : 0;
    if (cut.kind == CutKind::partial) {
      return offset_ > start || (piece.size() < wanted_ && offset_ + wanted_ <= size);
    }
    if (!take(cut, size, points)) return false;
    if (cut.used >= rest.size()) return true;
    rest.remove_prefix(static_cast<std::size_t>(cut.used));
  }
}

/// Moves behind what was cut; false when there is nothing more to read for now.
bool EventFile::take(const RecordCut& cut, std::uint64_t size, SourcePoints& points) {
  if (cut.kind == CutKind::too_long) {
    if (cut.used > size - offset_) {
      wanted_ = cut.used;
      return false;
    }
    say_damage("has a record over 64 MiB, which was passed over");
  } else if (cut.kind == CutKind::record) {
    take_record(cut.payload, points);
  } else {
    given_up_ = offset_ == 0 && cut.kind == CutKind::lost;
    say_damage(given_up_ ? "is no TensorBoard event file" : kDamaged);
    if (given_up_) return false;
  }
  offset_ += cut.used;
  return true;
}

void EventFile::take_record(std::string_view payload, SourcePoints& points) {
  if (!decode_event(payload, event_)) return say_damage(kDamaged);
  format::MetricPoint point;
  for (const SummaryScalar& scalar : event_.scalars) {
    point.t = time_of(event_.wall_time);
    point.step = event_.step;
    point.name = prefix_.empty() ? std::string(scalar.tag) : prefix_ + "/" + std::string(scalar.tag);
    point.value = scalar.value;
    points.add(point);
  }
}

void EventFile::say_damage(const char* what) {
  if (!std::exchange(said_, true)) warnings_.push_back("the event file " + name_ + " " + what);
}

}  // namespace trainctl::host
