// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/log_clock.hpp"

#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kRecord = 16;
constexpr std::uint64_t kInterval = 100'000'000;  // ns

}  // namespace

LogClock::LogClock(std::filesystem::path log, std::filesystem::path times)
    : log_(std::move(log)), times_path_(std::move(times)), last_growth_(base::mono_ns()) {
  const auto had = base::file_size(times_path_).value_or(0);
  if (had == 0) return;
  const std::uint64_t whole = had / kRecord * kRecord;
  if (whole != had) {
    const base::UniqueFd fd(::open(times_path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW));
    if (fd) (void)base::write_all(fd.get(), std::string(kRecord - (had - whole), '\0'));
  }
  if (whole < kRecord) return;
  const auto last = base::read_range(times_path_, whole - 8, 8);
  if (last && last->size() == 8) {
    std::memcpy(&size_, last->data(), 8);
    size_ = le64toh(size_);
  }
}

bool LogClock::look(std::uint64_t now) {
  const std::uint64_t size = base::file_size(log_).value_or(0);
  const bool changed = size != size_;
  if (changed) {
    append(size);
    size_ = size;
    last_growth_ = now;
  }
  next_look_ = now + kInterval;
  return changed;
}

void LogClock::append(std::uint64_t size) {
  if (!times_) times_.reset(::open(times_path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!times_) return;
  const auto since_epoch = base::wall_now().time_since_epoch();
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(since_epoch).count();
  const std::array<std::uint64_t, 2> record = {htole64(static_cast<std::uint64_t>(ns)), htole64(size)};
  std::array<char, kRecord> bytes{};
  std::memcpy(bytes.data(), record.data(), bytes.size());
  // Times are a convenience: on a full disk the log itself goes on without them.
  (void)base::write_all(times_.get(), {bytes.data(), bytes.size()});
}

}  // namespace trainctl::host
