// SPDX-License-Identifier: Apache-2.0
// Reads files of a scan into the store: each as it was between two equal looks at it, or not at all.
#pragma once

#include <cstdint>
#include <string>

#include "snapshot/folder_cursor.hpp"
#include "snapshot/scan.hpp"
#include "snapshot/store.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

/// What became of one file.
enum class Frozen : std::uint8_t { stored, vanished, unreadable, changing };

class Freezer {
 public:
  /// `source` is borrowed. `slack_ns`: see is_settled().
  Freezer(int source, BlobWriter& blobs, std::int64_t slack_ns)
      : cursor_(source, FolderCursor::Missing::fail), blobs_(blobs), slack_ns_(slack_ns) {}

  /// Adds the file's blob and brings `file` up to date (hash, size, mode, times). Files should come in manifest order.
  /// `settled`: the stat cache may remember it. Errors are the store's only.
  Result<Frozen> freeze(ScanEntry& file, bool& settled);

  [[nodiscard]] int last_errno() const { return errno_; }  ///< why the last file was unreadable

 private:
  Result<Frozen> attempt(int folder, const std::string& name, ScanEntry& file, bool& settled);
  Result<Frozen> read_small(int fd, std::uint64_t size, Hash& hash);
  Result<Frozen> read_large(int fd, std::uint64_t size, Hash& hash);
  Frozen unreadable(int number);
  Result<Frozen> cannot_open(int number, const std::string& path);

  FolderCursor cursor_;
  BlobWriter& blobs_;
  std::int64_t slack_ns_;
  std::string buffer_;
  int errno_ = 0;
};

}  // namespace trainctl::snapshot
