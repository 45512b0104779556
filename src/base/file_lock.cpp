// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::base {

namespace {

constexpr std::uint64_t kPollNs = 20'000'000;

void pause_ns(std::uint64_t ns) {
  struct timespec time{};
  time.tv_sec = static_cast<time_t>(ns / 1'000'000'000);
  time.tv_nsec = static_cast<long>(ns % 1'000'000'000);
  ::nanosleep(&time, nullptr);  // a signal only makes the next try come sooner
}

/// The open file and the name still belong together: a lock on a file that was unlinked or replaced locks nobody out.
bool is_current(int fd, const fs::path& path) {
  struct stat opened{};
  struct stat named{};
  return ::fstat(fd, &opened) == 0 && ::stat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

/// A lock that cannot be taken at all. Where the file system has none (a file server without a lock daemon), another
/// try helps as little as another command.
tl::unexpected<Error> lock_failure(const fs::path& path, int number) {
  Error error = system_error("lock " + path.string(), number);
  if (number == ENOLCK || number == ENOSYS || number == EOPNOTSUPP) {
    error.hint = "this file system has no file locks: set TRAINCTL_HOME to a folder on a local disk";
  }
  return fail(std::move(error));
}

}  // namespace

Result<std::optional<FileLock>> FileLock::try_acquire(const fs::path& path) {
  for (;;) {
    TRY_ASSIGN(UniqueFd fd, open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW));
    while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return std::optional<FileLock>();
      if (errno != EINTR) return lock_failure(path, errno);
    }
    if (is_current(fd.get(), path)) return std::optional<FileLock>(FileLock(std::move(fd)));
  }
}

Result<FileLock> FileLock::acquire(const fs::path& path, int timeout_ms) {
  const std::uint64_t deadline = mono_ns() + static_cast<std::uint64_t>(std::max(timeout_ms, 0)) * 1'000'000U;
  for (;;) {
    TRY_ASSIGN(auto lock, try_acquire(path));
    if (lock) return std::move(*lock);
    const std::uint64_t now = mono_ns();
    if (now >= deadline) break;
    pause_ns(std::min(kPollNs, deadline - now));
  }
  const auto holder = lock_holder(path);
  return fail(Errc::timeout,
              path.string() + " is locked by " +
                  (holder ? "process " + std::to_string(*holder) : std::string("another process")) + " for more than " +
                  format_duration(std::chrono::milliseconds(timeout_ms)),
              "wait for it to end, or stop it");
}

std::optional<pid_t> lock_holder(const fs::path& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return std::nullopt;
  const auto text = read_file("/proc/locks");
  if (!text) return std::nullopt;
  // "1: FLOCK  ADVISORY  WRITE 1234 fd:00:5678 0 EOF": device numbers in hex, inode in decimal (proc_locks(5)).
  const std::string inode = ":" + std::to_string(info.st_ino);
  for (const std::string& line : split(*text, '\n')) {
    std::vector<std::string> fields;
    for (std::string& field : split(line, ' ')) {
      if (!field.empty()) fields.push_back(std::move(field));
    }
    // A waiter has "->" as its second field. The device is not compared: btrfs and overlayfs show another one in stat.
    if (fields.size() < 6 || fields[1] != "FLOCK" || !fields[5].ends_with(inode)) continue;
    pid_t pid = 0;
    const std::string& word = fields[4];
    std::from_chars(word.data(), word.data() + word.size(), pid);
    if (pid > 0) return pid;  // 0 or -1: the holder lives in another pid namespace or on another machine
  }
  return std::nullopt;
}

}  // namespace trainctl::base
