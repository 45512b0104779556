// SPDX-License-Identifier: Apache-2.0
// metrics/<source>-r0.jsonl of a source that reads many files, and beside it <source>-r0.cursor, lines
//   {"type":"cursor","file":"logs/train/events.out…","prefix":"train","offset":N,"points":P}
// The first N units of the file (bytes; entries of a table) are done, and what stands behind byte P of the points comes
// from that file's unit N on, until the next line. A line is written before the points it speaks of.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "base/fd.hpp"
#include "format/metric.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// The one writer of both files. Opened lazily: a source without points has no files.
class SourcePoints {
 public:
  SourcePoints(std::filesystem::path directory, std::string source)
      : directory_(std::move(directory)), source_(std::move(source)) {}

  struct Done {
    std::uint64_t offset = 0;
    std::string prefix = {};
  };
  /// What an earlier process did, by file. Ends a torn last line. Called once before all else.
  Result<std::map<std::string, Done>> recover();

  /// The file whose points may be in the points file already: to be read before all others.
  [[nodiscard]] const std::string& tail_file() const { return tail_file_; }
  /// The points that are added next come from `file`, from `done.offset` on.
  void begin(const std::string& file, const Done& done);
  void add(const format::MetricPoint& point);
  /// `file` is done up to `offset` now.
  void reach(std::uint64_t offset);
  /// Writes what is queued. After an error (a full disk) it goes on at the same byte at the next call.
  Result<> flush();
  [[nodiscard]] std::size_t queued() const { return queue_.size(); }

 private:
  Result<> open_files();
  void queue_cursor(const std::string& file, const Done& done);
  Result<> drain(const base::UniqueFd& fd, std::string& queue, const char* kind);

  std::filesystem::path directory_;
  std::string source_;
  base::UniqueFd points_ = {};
  base::UniqueFd cursor_ = {};
  std::string queue_ = {};
  std::string cursor_queue_ = {};
  std::uint64_t written_ = 0;  ///< bytes of the points file
  std::string file_ = {};
  Done done_ = {};
  std::uint64_t noted_ = 0;         ///< the offset of file_ in its last cursor line
  std::uint64_t points_noted_ = 0;  ///< where the points stood then
  std::string tail_file_ = {};      ///< whose points an earlier process wrote last
  std::uint64_t skip_ = 0;          ///< that many of them are in the file already
};

}  // namespace trainctl::host
