// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "cli/log_times.hpp"
#include "cli/output.hpp"
#include "engine/follow.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {

/// A log as lines with the time in front by which each had been written. Records of times come a little behind the
/// log: a line waits for its own, but not for ever, since a supervisor may be gone.
class TimedLines {
 public:
  TimedLines(Context& context, format::RunPaths run, int rank) : context_(context), run_(std::move(run)), rank_(rank) {}

  /// Takes grown bytes up and prints the lines whose times are known. Returns how many bytes could be read.
  Result<std::uint64_t> add(const engine::LogRange& range);
  /// Prints the lines whose times have become known, or that waited long enough.
  Result<> settle();
  /// Prints all that is left, the last line also without its newline.
  Result<> finish();
  [[nodiscard]] bool holds() const { return !held_.empty() || !part_.empty(); }

 private:
  struct Line {
    std::uint64_t begin;
    std::string text;
    std::uint64_t seen_ns;
  };

  Result<> begin(const engine::LogRange& range);
  void cut(const std::string& block);
  void print(const Line& line);

  Context& context_;
  format::RunPaths run_;
  int rank_;
  int attempt_ = 0;
  int epoch_ = 0;
  std::optional<LogTimes> times_;
  TerminalFilter filter_;
  std::deque<Line> held_;
  std::uint64_t held_bytes_ = 0;
  std::string part_;         ///< of a line whose newline has not come
  std::uint64_t begin_ = 0;  ///< where it begins
};

}  // namespace trainctl::cli
