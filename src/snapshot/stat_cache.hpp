// SPDX-License-Identifier: Apache-2.0
// What each file of one source directory hashed to, and what `stat` said then: an unchanged file is not read again.
//
// File, little-endian: "TCSTAT1\n" | u64 checksum of all that follows | u64 count | 32 bytes digest of the manifest
// these files belong to | count x {u64 size, i64 mtime ns, i64 ctime ns, u64 inode, 32 bytes hash, u32 path offset, u32
// path length} | paths. Records are in the byte order of their paths. A damaged file counts as an empty one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "snapshot/manifest.hpp"
#include "snapshot/scan.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

class StatCache {
 public:
  /// Never fails: without a usable file the cache is empty.
  static StatCache load(const std::filesystem::path& path);

  /// The remembered hash when path, size, mtime, ctime and inode are all the same, else null. Calls must come in the
  /// byte order of the paths.
  const Hash* next(const ScanEntry& file);

  [[nodiscard]] const Hash& manifest() const { return manifest_; }
  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] std::size_t size() const { return count_; }

 private:
  [[nodiscard]] std::string_view path_at(std::size_t record) const;

  std::string data_;
  std::size_t count_ = 0;
  std::size_t at_ = 0;
  Hash manifest_ = {};
  Hash found_ = {};
};

/// Collects the records of the next cache file. Only files that cannot change unseen any more belong here: see
/// is_settled().
class StatCacheWriter {
 public:
  void add(const ScanEntry& file);
  [[nodiscard]] std::string finish(const Hash& manifest) &&;

 private:
  std::string records_;
  std::string paths_;
  std::uint64_t count_ = 0;
};

/// The file system's clock now, as coarse as the times it stamps files with at their coarsest. Since Linux 6.13 a stamp
/// may be ahead of it (fine time, where somebody looked at the file before): is_settled() then reads such a file once
/// more.
std::int64_t coarse_now_ns();

/// git's racy rule: false when the file was changed so shortly before `read_began_ns` that a later change could carry
/// the same times. `slack_ns` widens that for file systems with coarse or foreign clocks.
bool is_settled(const ScanEntry& file, std::int64_t read_began_ns, std::int64_t slack_ns);

}  // namespace trainctl::snapshot
