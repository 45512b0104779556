// SPDX-License-Identifier: Apache-2.0
// std.times: when which byte of std.log was written (design: (u64 unix ns, u64 offset) little-endian, at most 10 a
// second).
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "base/clock.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {

class LogTimes {
 public:
  /// Whole records only; a torn or zero-filled one is skipped. A missing file is empty.
  static Result<LogTimes> read(const std::filesystem::path& path);

  /// The first offset whose bytes were written at or after `time`; UINT64_MAX when none was.
  [[nodiscard]] std::uint64_t offset_since(base::WallTime time) const;
  /// When the byte at `offset` had been written at the latest; the epoch when nothing is known.
  [[nodiscard]] base::WallTime time_of(std::uint64_t offset) const;
  [[nodiscard]] bool empty() const { return records_.empty(); }

 private:
  struct Record {
    std::uint64_t unix_ns;
    std::uint64_t offset;  ///< size of the log at that moment
  };
  std::vector<Record> records_;
};

}  // namespace trainctl::cli
