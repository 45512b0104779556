// SPDX-License-Identifier: Apache-2.0
// logs/std.times: when the log had which size. Records of 16 bytes, little-endian: u64 unix nanoseconds, u64 offset;
// at most ten a second. A torn record is padded with zeros and skipped by readers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/fd.hpp"

namespace trainctl::host {

class LogClock {
 public:
  LogClock(std::filesystem::path log, std::filesystem::path times);
  /// Looks at the log and records its growth. Returns true when it had grown.
  bool look(std::uint64_t now);
  /// When the log last grew (or the clock began).
  [[nodiscard]] std::uint64_t last_growth() const { return last_growth_; }
  /// The earliest time for the next look.
  [[nodiscard]] std::uint64_t next_look() const { return next_look_; }
  [[nodiscard]] const std::filesystem::path& log() const { return log_; }
  /// Later looks are due only when somebody says that the log changed.
  void rest() { next_look_ = UINT64_MAX; }
  void look_at(std::uint64_t time) { next_look_ = std::min(next_look_, time); }

 private:
  void append(std::uint64_t size);
  std::filesystem::path log_;
  std::filesystem::path times_path_;
  base::UniqueFd times_;
  std::uint64_t size_ = 0;
  std::uint64_t last_growth_;
  std::uint64_t next_look_ = 0;
};

}  // namespace trainctl::host
