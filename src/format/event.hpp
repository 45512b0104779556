// SPDX-License-Identifier: Apache-2.0
// events.jsonl and the other append-only line files of a run folder. One writer a file; a line without a newline does
// not exist; a writer that restarts ends the torn line before it goes on; nobody truncates.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "trainctl/result.hpp"

namespace trainctl::format {

/// Appends event lines {"v":1,"seq":…,"t":…,"mono_ns":…,"boot":…,"node":…,"type":…,…fields}, one write(2) each.
class EventWriter {
 public:
  /// Opens (creates, 0600) the file, ends a torn last line, and continues `seq` after the highest one found.
  static Result<EventWriter> open(const std::filesystem::path& path, int node = 0);
  /// Like open, but the file must not exist: Errc::store with "exists" otherwise. The rank's start fence.
  static Result<EventWriter> create(const std::filesystem::path& path, int node = 0);

  /// `fields` is an object whose members follow the header; keys of the header in it are ignored.
  Result<> append(std::string_view type, const Json& fields);
  /// append + fdatasync.
  Result<> append_durable(std::string_view type, const Json& fields);
  /// Reserves `bytes` behind the end of the file, so that the next lines cannot fail on a full disk. Not supported by
  /// the file system is fine.
  void reserve(std::uint64_t bytes);
  Result<> sync();
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] std::uint64_t next_seq() const { return seq_; }

 private:
  EventWriter(base::UniqueFd fd, std::filesystem::path path, int node)
      : fd_(std::move(fd)), path_(std::move(path)), node_(node) {}
  base::UniqueFd fd_;
  std::filesystem::path path_;
  int node_ = 0;
  std::uint64_t seq_ = 1;
  std::string boot_;
};

/// Every whole, well-formed line that is an object; damaged lines are skipped. A missing file is empty.
Result<std::vector<Json>> read_lines(const std::filesystem::path& path);
/// The last line "end" of an attempt's events; null when there is none, or nothing can be read.
Json last_end(const std::filesystem::path& events);

/// The same from text, for mirrors and tests. `consumed` is set to the offset behind the last whole line.
std::vector<Json> parse_lines(std::string_view text, std::size_t* consumed = nullptr);

}  // namespace trainctl::format
