// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "host/metrics/source_points.hpp"
#include "host/tensorboard/event.hpp"
#include "host/tensorboard/record.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// One growing event file. Read from its offset on; a record that is not whole yet waits there.
class EventFile {
 public:
  /// `name` is relative to the working directory; `prefix` stands before the tags (naming.hpp).
  EventFile(std::filesystem::path path, std::string name, std::string prefix, std::uint64_t offset)
      : path_(std::move(path)), name_(std::move(name)), prefix_(std::move(prefix)), offset_(offset) {}

  /// Reads all whole records that are there. An error is one of writing the points; the next call goes on.
  Result<> advance(SourcePoints& points);
  std::vector<std::string> take_warnings() { return std::exchange(warnings_, {}); }

 private:
  bool read_piece(int fd, std::uint64_t size, SourcePoints& points);
  bool take(const RecordCut& cut, std::uint64_t size, SourcePoints& points);
  void take_record(std::string_view payload, SourcePoints& points);
  void say_damage(const char* what);

  std::filesystem::path path_;
  std::string name_;
  std::string prefix_;
  std::uint64_t offset_;
  std::uint64_t seen_size_ = 0;
  std::uint64_t wanted_ = 0;  ///< bytes that the record at offset_ takes, when that is known
  bool given_up_ = false;
  bool said_ = false;
  SummaryEvent event_ = {};
  std::vector<std::string> warnings_ = {};
};

}  // namespace trainctl::host
