// SPDX-License-Identifier: Apache-2.0
// Files of ours. State is written only through these: durable, 0600, never following a planted link.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "trainctl/result.hpp"

namespace trainctl::base {

namespace fs = std::filesystem;

/// open(2) with O_CLOEXEC and EINTR handled; the error names the path. A missing file is Errc::not_found.
Result<UniqueFd> open_file(const fs::path& path, int flags, mode_t mode = 0600);

/// The whole file. `max_bytes` exceeded is Errc::invalid.
Result<std::string> read_file(const fs::path& path, std::uint64_t max_bytes = UINT64_C(1) << 32);

/// Like read_file, but a missing file is an empty optional instead of an error.
Result<std::optional<std::string>> read_file_if_exists(const fs::path& path, std::uint64_t max_bytes = UINT64_C(1)
                                                                                                       << 32);

/// Bytes [offset, offset+count), short at the end of the file.
Result<std::string> read_range(const fs::path& path, std::uint64_t offset, std::uint64_t count);

/// All of `data` to `fd`, EINTR and short writes handled.
Result<> write_all(int fd, std::string_view data);
Result<> pwrite_all(int fd, std::string_view data, std::uint64_t offset);

/// tmp + fsync + rename + fsync of the directory: after a crash the old or the new content is there, whole.
Result<> write_file_durable(const fs::path& path, std::string_view data, mode_t mode = 0600);

/// tmp + rename without any fsync: whole or absent for readers, but not guaranteed after a power loss.
Result<> write_file_atomic(const fs::path& path, std::string_view data, mode_t mode = 0600);

/// Creates `path` with O_EXCL and writes `data` (no fsync). Returns false when it existed already.
Result<bool> create_exclusive(const fs::path& path, std::string_view data, mode_t mode = 0600);

/// mkdir -p with mode 0700 for what is made. An existing directory is fine.
Result<> make_directories(const fs::path& path, mode_t mode = 0700);

/// mkdir; false when it existed already (an atomic claim).
Result<bool> make_directory(const fs::path& path, mode_t mode = 0700);

Result<> sync_file(int fd);
/// Starts writing the file's data to disk without waiting for it: the next sync of any file of this file system then
/// commits both at once, so that syncing this one costs next to nothing. Nothing is promised before sync_file.
void start_sync(int fd);
Result<> sync_directory(const fs::path& path);

/// Removes a tree without following symbolic links; missing is fine. Makes unwritable directories of ours writable
/// first.
Result<> remove_tree(const fs::path& path);

Result<std::vector<std::string>> list_directory(const fs::path& path);  ///< names, sorted; a missing directory is empty
bool exists(const fs::path& path);                                      ///< lstat succeeds
std::optional<std::uint64_t> file_size(const fs::path& path);
std::uint64_t free_bytes(const fs::path& path);  ///< for unprivileged users, 0 when unknown

/// True on network file systems (NFS, SMB, Lustre, GPFS, FUSE over the network): no inotify, no reliable flock.
bool is_network_file_system(const fs::path& path);

/// An flock(2) held while the object lives. Never left to children: O_CLOEXEC, and forks that do not exec must close
/// it.
class FileLock {
 public:
  /// Non-blocking: an empty optional when another process holds it.
  static Result<std::optional<FileLock>> try_acquire(const fs::path& path);
  /// Waits up to `timeout_ms`; then Errc::timeout with the holder's pid where it can be told.
  static Result<FileLock> acquire(const fs::path& path, int timeout_ms);
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

/// The pid of a process that holds an flock on `path`, from /proc/locks; empty when unknown.
std::optional<pid_t> lock_holder(const fs::path& path);

}  // namespace trainctl::base
