// SPDX-License-Identifier: Apache-2.0
#include "cli/log_times.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

std::uint64_t nanoseconds(base::WallTime time) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count());
}

}  // namespace

Result<LogTimes> LogTimes::read(const std::filesystem::path& path) {
  LogTimes times(path);
  TRY(times.read_on());
  return times;
}

Result<> LogTimes::read_on() {
  const std::uint64_t whole = base::file_size(path_).value_or(0) / sizeof(Record) * sizeof(Record);
  if (whole <= consumed_) return {};
  TRY_ASSIGN(const std::string bytes, base::read_range(path_, consumed_, whole - consumed_));
  for (std::size_t at = 0; at + sizeof(Record) <= bytes.size(); at += sizeof(Record)) {
    Record record{};
    std::memcpy(&record, bytes.data() + at, sizeof record);  // little-endian, as every machine we build for
    if (record.unix_ns != 0) records_.push_back(record);
  }
  consumed_ += bytes.size() / sizeof(Record) * sizeof(Record);
  return {};
}

std::uint64_t LogTimes::offset_since(base::WallTime time) const {
  const std::uint64_t wanted = nanoseconds(time);
  std::uint64_t before = 0;
  for (const Record& record : records_) {
    if (record.unix_ns >= wanted) return before;
    before = record.offset;
  }
  return UINT64_MAX;
}

base::WallTime LogTimes::time_of(std::uint64_t offset) const {
  const auto found =
      std::upper_bound(records_.begin(), records_.end(), offset,
                       [](std::uint64_t wanted, const Record& record) { return wanted < record.offset; });
  if (records_.empty()) return {};
  const Record& record = found == records_.end() ? records_.back() : *found;
  return base::WallTime(std::chrono::microseconds(record.unix_ns / 1000));
}

}  // namespace trainctl::cli
