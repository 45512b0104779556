// SPDX-License-Identifier: Apache-2.0
// std.times: when which byte of std.log was written (design: (u64 unix ns, u64 offset) little-endian, at most 10 a
// second).
#pragma once

#include <cstdint>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {

class LogTimes {
 public:
  /// Whole records only; a torn or zero-filled one is skipped. A missing file is empty.
  static Result<LogTimes> read(const std::filesystem::path& path);
  /// Reads what was recorded since.
  Result<> read_on();

  /// The first offset whose bytes were written at or after `time`; UINT64_MAX when none was.
  [[nodiscard]] std::uint64_t offset_since(base::WallTime time) const;
  /// When the byte at `offset` had been written at the latest; the epoch when nothing is known.
  [[nodiscard]] base::WallTime time_of(std::uint64_t offset) const;
  /// Whether the byte at `offset` is in a record yet: they come up to 0.1 s behind the log.
  [[nodiscard]] bool knows(std::uint64_t offset) const { return !records_.empty() && records_.back().offset > offset; }

 private:
  explicit LogTimes(std::filesystem::path path) : path_(std::move(path)) {}

  struct Record {
    std::uint64_t unix_ns;
    std::uint64_t offset;  ///< size of the log at that moment
  };
  std::filesystem::path path_;
  std::uint64_t consumed_ = 0;  ///< bytes of the file
  std::vector<Record> records_;
};

}  // namespace trainctl::cli
