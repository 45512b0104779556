// SPDX-License-Identifier: Apache-2.0
// The two files of a pattern tailer for one log: the points and how far the log is done.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "format/metric.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// Appends points and cursors; the one writer of both files. Opened lazily: a log without points has no files.
class PatternOutput {
 public:
  PatternOutput(std::filesystem::path directory, int rank) : directory_(std::move(directory)), rank_(rank) {}

  struct State {
    std::uint64_t offset = 0;               ///< bytes of the log that are done
    std::optional<std::int64_t> step = {};  ///< the scanner's step there
    std::uint64_t written = 0;              ///< points behind the cursor that are in the file already
  };
  /// Where an earlier tailer was; ends a torn last line of the points.
  Result<State> recover();

  /// Queues points; the first State::written of them are left out.
  void add(const std::vector<format::MetricPoint>& points);
  /// Writes what is queued. After an error (a full disk) it goes on at the same byte at the next call.
  Result<> flush();
  /// Records that the log is done up to `offset`; only after a flush that went well.
  Result<> write_cursor(std::uint64_t offset, std::optional<std::int64_t> step);
  /// A cursor can be written: there are points, and none of them comes from behind what was added so far.
  [[nodiscard]] bool settled() const { return size_ > 0 && skip_ == 0; }
  /// The log began anew: points of its earlier content say nothing about the new one.
  void restart() { skip_ = 0; }

 private:
  Result<> open_files();

  std::filesystem::path directory_;
  int rank_;
  base::UniqueFd points_ = {};
  base::UniqueFd cursor_ = {};
  std::uint64_t size_ = 0;  ///< of the points file
  std::uint64_t skip_ = 0;
  std::string queue_ = {};
};

}  // namespace trainctl::host
