// SPDX-License-Identifier: Apache-2.0
#include "snapshot/freeze.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "snapshot/clone.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/pack.hpp"
#include "snapshot/scan.hpp"
#include "snapshot/stat_cache.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

constexpr int kTries = 3;
constexpr std::size_t kBlock = 1U << 20U;

std::int64_t to_ns(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

bool same(const struct stat& a, const struct stat& b) {
  return a.st_size == b.st_size && a.st_ino == b.st_ino && to_ns(a.st_mtim) == to_ns(b.st_mtim) &&
         to_ns(a.st_ctim) == to_ns(b.st_ctim);
}

ssize_t read_some(int fd, char* data, std::size_t size) {
  while (true) {
    const ssize_t count = ::read(fd, data, size);
    if (count >= 0 || errno != EINTR) return count;
  }
}

/// Unlinks a temporary file unless it was kept.
class Temporary {
 public:
  explicit Temporary(std::filesystem::path path) : path_(std::move(path)) {}
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  ~Temporary() { ::unlink(path_.c_str()); }  // after it was renamed there is nothing to unlink

 private:
  std::filesystem::path path_;
};

}  // namespace

Frozen Freezer::unreadable(int number) {
  errno_ = number;
  return Frozen::unreadable;
}

Result<Frozen> Freezer::read_small(int fd, std::uint64_t size, Hash& hash) {
  buffer_.resize(static_cast<std::size_t>(size) + 1);
  std::size_t have = 0;
  while (have < buffer_.size()) {
    const ssize_t count = read_some(fd, buffer_.data() + have, buffer_.size() - have);
    if (count < 0) return unreadable(errno);
    if (count == 0) break;
    have += static_cast<std::size_t>(count);
  }
  if (have != size) return Frozen::changing;
  const std::string_view data = std::string_view(buffer_).substr(0, have);
  hash = hash_bytes(data);
  return Frozen::stored;
}

Result<Frozen> Freezer::read_large(int fd, std::uint64_t size, Hash& hash) {
  std::filesystem::path path;
  TRY_ASSIGN(base::UniqueFd copy, blobs_.open_temporary(path));
  const Temporary cleanup(path);
  const bool cloned = clone_file(copy.get(), fd);
  base::Sha256 sha;
  buffer_.resize(kBlock);
  std::uint64_t have = 0;
  while (true) {
    const ssize_t count = read_some(cloned ? copy.get() : fd, buffer_.data(), buffer_.size());
    if (count < 0) return unreadable(errno);
    if (count == 0) break;
    const std::string_view block = std::string_view(buffer_).substr(0, static_cast<std::size_t>(count));
    sha.update(block);
    have += block.size();
    if (have > size) return Frozen::changing;
    if (!cloned) TRY(base::write_all(copy.get(), block));
  }
  if (have != size) return Frozen::changing;
  hash = sha.finish();
  TRY(blobs_.keep_loose(hash, std::move(copy), path));
  return Frozen::stored;
}

Result<Frozen> Freezer::cannot_open(int number, const std::string& path) {
  if (number == ENOENT || number == ELOOP || number == ENOTDIR || number == ENXIO) return Frozen::vanished;
  if (number == EMFILE || number == ENFILE || number == ENOMEM) return fail_errno("open " + path, number);
  return unreadable(number);
}

Result<Frozen> Freezer::attempt(int folder, const std::string& name, ScanEntry& file, bool& settled) {
  const std::int64_t began = coarse_now_ns();
  // Not blocking: the file may have become a named pipe.
  const base::UniqueFd fd(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd) return cannot_open(errno, file.entry.path);
  struct stat before{};
  struct stat after{};
  if (::fstat(fd.get(), &before) != 0) return unreadable(errno);
  if (!S_ISREG(before.st_mode)) return Frozen::vanished;
  const auto size = static_cast<std::uint64_t>(before.st_size);
  const bool small = size <= kLooseAbove;
  TRY_ASSIGN(const Frozen read,
             small ? read_small(fd.get(), size, file.entry.hash) : read_large(fd.get(), size, file.entry.hash));
  if (read != Frozen::stored) return read;
  if (::fstat(fd.get(), &after) != 0) return unreadable(errno);
  if (!same(before, after)) return Frozen::changing;
  if (small) TRY(blobs_.add(file.entry.hash, std::string_view(buffer_).substr(0, static_cast<std::size_t>(size))));
  file.entry.size = size;
  file.entry.mode = before.st_mode & 0777U;
  file.mtime_ns = to_ns(before.st_mtim);
  file.ctime_ns = to_ns(before.st_ctim);
  file.inode = before.st_ino;
  settled = is_settled(file, began, slack_ns_);
  return Frozen::stored;
}

Result<Frozen> Freezer::freeze(ScanEntry& file, bool& settled) {
  Frozen state = Frozen::changing;
  for (int i = 0; i < kTries && state == Frozen::changing; ++i) {
    std::string name;
    const auto folder = cursor_.parent_of(file.entry.path, name);
    if (!folder && folder.error().code == Errc::not_found) return Frozen::vanished;
    if (!folder && folder.error().code == Errc::denied) return unreadable(EACCES);
    if (!folder) return fail(folder.error());
    TRY_ASSIGN(state, attempt(*folder, name, file, settled));
  }
  return state;
}

}  // namespace trainctl::snapshot
