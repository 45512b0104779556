// SPDX-License-Identifier: Apache-2.0
#include "base/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/fd.hpp"
#include "base/ulid.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::base {

namespace {

/// Reads up to `count` bytes at the file position of `fd`; short only at the end of the file.
Result<std::string> read_up_to(int fd, std::uint64_t count, std::uint64_t expected, const fs::path& path) {
  std::string data;
  data.resize(static_cast<std::size_t>(std::min<std::uint64_t>(count, expected + 1)));
  std::size_t used = 0;
  while (used < count) {
    if (used == data.size()) {
      const std::uint64_t grown = std::max<std::uint64_t>(64U << 10U, 2 * std::uint64_t{used});
      data.resize(static_cast<std::size_t>(std::min(count, grown)));
    }
    const ssize_t got = ::read(fd, data.data() + used, data.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read " + path.string(), errno);
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
  }
  data.resize(used);
  return data;
}

fs::path parent_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

/// Removes a half-written file when the scope ends, unless it was kept.
class TemporaryFile {
 public:
  explicit TemporaryFile(fs::path path) : path_(std::move(path)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  void keep() { path_.clear(); }

 private:
  fs::path path_;
};

enum class Durability { atomic, durable };

Result<> replace_file(const fs::path& path, std::string_view data, mode_t mode, Durability durability) {
  if (path.filename().empty()) return fail(Errc::invalid, "cannot write " + path.string() + ": it names a directory");
  const fs::path directory = parent_of(path);
  const std::string name = "." + path.filename().string().substr(0, 200) + ".tmp-" + random_hex(8);
  const fs::path temporary = directory / name;
  TRY_ASSIGN(UniqueFd fd, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
  TemporaryFile guard(temporary);
  // The umask must not take bits that the caller asked for, and never adds any.
  if (::fchmod(fd.get(), mode) != 0) return fail_errno("set the mode of " + temporary.string(), errno);
  if (auto written = write_all(fd.get(), data); !written) {
    return fail(std::move(written).error().with_context("writing " + path.string()));
  }
  if (durability == Durability::durable) {
    if (auto synced = sync_file(fd.get()); !synced) {
      return fail(std::move(synced).error().with_context("writing " + path.string()));
    }
  }
  // close can report a lost write on network file systems.
  if (::close(fd.release()) != 0 && errno != EINTR) return fail_errno("write " + path.string(), errno);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail_errno("write " + path.string(), errno);
  guard.keep();
  if (durability == Durability::durable) return sync_directory(directory);
  return {};
}

}  // namespace

Result<UniqueFd> open_file(const fs::path& path, int flags, mode_t mode) {
  for (;;) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
    if (fd >= 0) return UniqueFd(fd);
    if (errno != EINTR) return fail_errno("open " + path.string(), errno);
  }
}

Result<std::string> read_file(const fs::path& path, std::uint64_t max_bytes) {
  TRY_ASSIGN(const UniqueFd fd, open_file(path, O_RDONLY));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return fail_errno("read " + path.string(), errno);
  auto too_large = [&] {
    return fail(Errc::invalid, path.string() + " is larger than the " + std::to_string(max_bytes) + " bytes allowed");
  };
  const std::uint64_t size = info.st_size > 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
  if (S_ISREG(info.st_mode) && size > max_bytes) return too_large();
  // One byte more than allowed tells "exactly full" from "grew meanwhile"; files of /proc say size 0 and have content.
  const std::uint64_t limit = max_bytes == UINT64_MAX ? max_bytes : max_bytes + 1;
  TRY_ASSIGN(std::string data, read_up_to(fd.get(), limit, size, path));
  if (data.size() > max_bytes) return too_large();
  return data;
}

Result<std::optional<std::string>> read_file_if_exists(const fs::path& path, std::uint64_t max_bytes) {
  auto data = read_file(path, max_bytes);
  if (data) return std::optional<std::string>(std::move(*data));
  if (data.error().code == Errc::not_found) return std::optional<std::string>();
  return fail(std::move(data).error());
}

Result<std::string> read_range(const fs::path& path, std::uint64_t offset, std::uint64_t count) {
  TRY_ASSIGN(const UniqueFd fd, open_file(path, O_RDONLY));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return fail_errno("read " + path.string(), errno);
  const std::uint64_t size = info.st_size > 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
  if (S_ISREG(info.st_mode) && offset >= size) return std::string();
  if (offset > static_cast<std::uint64_t>(INT64_MAX)) return std::string();
  if (::lseek(fd.get(), static_cast<off_t>(offset), SEEK_SET) < 0) return fail_errno("read " + path.string(), errno);
  return read_up_to(fd.get(), count, size > offset ? size - offset : 0, path);
}

Result<> write_all(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t done = ::write(fd, data.data(), data.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return fail_errno("write", errno);
    data.remove_prefix(static_cast<std::size_t>(done));
  }
  return {};
}

Result<> pwrite_all(int fd, std::string_view data, std::uint64_t offset) {
  while (!data.empty()) {
    const ssize_t done = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return fail_errno("write", errno);
    data.remove_prefix(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return {};
}

Result<> write_file_durable(const fs::path& path, std::string_view data, mode_t mode) {
  return replace_file(path, data, mode, Durability::durable);
}

Result<> write_file_atomic(const fs::path& path, std::string_view data, mode_t mode) {
  return replace_file(path, data, mode, Durability::atomic);
}

Result<bool> create_exclusive(const fs::path& path, std::string_view data, mode_t mode) {
  const int raw = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
  if (raw < 0 && errno == EEXIST) return false;
  if (raw < 0) return fail_errno("create " + path.string(), errno);
  UniqueFd fd(raw);
  if (auto written = write_all(fd.get(), data); !written) {
    ::unlink(path.c_str());
    return fail(std::move(written).error().with_context("writing " + path.string()));
  }
  if (::close(fd.release()) != 0 && errno != EINTR) {
    const int number = errno;
    ::unlink(path.c_str());
    return fail_errno("write " + path.string(), number);
  }
  return true;
}

Result<> make_directories(const fs::path& path, mode_t mode) {
  fs::path so_far;
  for (const fs::path& part : path) {
    so_far /= part;
    if (part.empty() || part == "/" || part == "." || part == "..") continue;
    if (::mkdir(so_far.c_str(), mode) == 0) continue;
    const int number = errno;
    struct stat info{};
    // Not only EEXIST: on a read-only or foreign parent an existing directory gives EROFS or EACCES.
    if (::stat(so_far.c_str(), &info) == 0) {
      if (S_ISDIR(info.st_mode)) continue;
      return fail_errno("make the directory " + so_far.string(), ENOTDIR);
    }
    return fail_errno("make the directory " + so_far.string(), number);
  }
  return {};
}

Result<bool> make_directory(const fs::path& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) return true;
  if (errno == EEXIST) return false;
  return fail_errno("make the directory " + path.string(), errno);
}

Result<> sync_file(int fd) {
  while (::fsync(fd) != 0) {
    if (errno == EINTR) continue;
    if (errno == EINVAL || errno == ENOTSUP) return {};  // a pipe, or a file system without fsync
    return fail_errno("flush to disk", errno);
  }
  return {};
}

void start_sync(int fd) {
  (void)::sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

Result<> sync_directory(const fs::path& path) {
  TRY_ASSIGN(const UniqueFd fd, open_file(path, O_RDONLY | O_DIRECTORY));
  if (auto synced = sync_file(fd.get()); !synced) {
    return fail(std::move(synced).error().with_context("flushing the directory " + path.string()));
  }
  return {};
}

bool exists(const fs::path& path) {
  struct stat info{};
  return ::lstat(path.c_str(), &info) == 0;
}

std::optional<std::uint64_t> file_size(const fs::path& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  return static_cast<std::uint64_t>(info.st_size);
}

std::uint64_t free_bytes(const fs::path& path) {
  struct statvfs info{};
  if (::statvfs(path.c_str(), &info) != 0) return 0;
  if (info.f_files > 0 && info.f_favail == 0) return 0;  // no inode is left: nothing new fits, however much is free
  return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

}  // namespace trainctl::base
