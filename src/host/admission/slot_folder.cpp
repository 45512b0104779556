// SPDX-License-Identifier: Apache-2.0
#include "host/admission/slot_folder.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/process.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr const char* kLockName = "lock";
constexpr std::uint64_t kLockPatienceNs = 200'000'000;

Result<base::UniqueFd> open_own_directory(int at, const char* name, const std::filesystem::path& shown, bool create) {
  if (create && ::mkdirat(at, name, 0700) != 0 && errno != EEXIST) return fail_errno("create " + shown.string(), errno);
  base::UniqueFd fd(::openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd && (errno == ELOOP || errno == ENOTDIR)) {
    return fail(Errc::denied, shown.string() + " is not a directory (a symbolic link, or a file)",
                "somebody put it there: look who owns it and remove it");
  }
  if (!fd) return fail_errno("open " + shown.string(), errno);
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return fail_errno("look at " + shown.string(), errno);
  if (status.st_uid != ::geteuid()) {
    return fail(Errc::denied, shown.string() + " belongs to user " + std::to_string(status.st_uid) + ", not to us",
                "ask that user or the administrator to remove it");
  }
  // A folder of ours with loose permissions (an odd umask): nobody else may queue, so it is closed, not refused.
  if ((status.st_mode & 077U) != 0 && ::fchmod(fd.get(), 0700) != 0)
    return fail_errno("close " + shown.string() + " to others", errno);
  return fd;
}

bool is_ours(const std::filesystem::path& parent) {
  return parent.filename() == "trainctl-" + std::to_string(::geteuid());
}

/// The folder, and the one around it when that is one of ours too.
Result<base::UniqueFd> open_both(const std::filesystem::path& folder, bool create) {
  const std::filesystem::path parent = folder.parent_path();
  base::UniqueFd at;
  if (is_ours(parent)) {
    TRY_ASSIGN(at, open_own_directory(AT_FDCWD, parent.c_str(), parent, create));
  } else {
    TRY_ASSIGN(at, base::open_file(parent, O_RDONLY | O_DIRECTORY));
  }
  return open_own_directory(at.get(), folder.filename().c_str(), folder, create);
}

bool is_removed(int fd) {
  struct stat status{};
  return ::fstat(fd, &status) == 0 && status.st_nlink == 0;
}

void pause_briefly() {
  const timespec pause{0, 500'000};  // flock has no deadline of its own
  ::nanosleep(&pause, nullptr);
}

/// Whether nobody holds a slot in it. The folder's exclusive lock keeps others from making one.
bool is_idle(int folder, const std::vector<std::string>& names) {
  return std::all_of(names.begin(), names.end(), [folder](const std::string& name) {
    const base::UniqueFd fd(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    return !fd || ::flock(fd.get(), LOCK_SH | LOCK_NB) == 0;
  });
}

void remove_if_idle(const std::filesystem::path& folder) {
  const auto fd = open_both(folder, false);
  if (!fd || ::flock(fd->get(), LOCK_EX | LOCK_NB) != 0) return;
  const auto names = base::list_directory(folder);
  if (!names || !is_idle(fd->get(), *names)) return;
  for (const std::string& name : *names) ::unlinkat(fd->get(), name.c_str(), 0);
  ::rmdir(folder.c_str());
}

}  // namespace

std::filesystem::path slot_folder() {
  if (const auto chosen = base::get_env("TRAINCTL_SLOTS"); chosen && !chosen->empty()) return *chosen;
  return std::filesystem::path("/var/tmp") / ("trainctl-" + std::to_string(::geteuid())) / ("slots-" + base::boot_id());
}

Result<base::UniqueFd> open_slot_folder(const std::filesystem::path& folder, bool create) {
  const std::uint64_t begin = base::mono_ns();
  for (;;) {
    auto fd = open_both(folder, create);
    const bool late = base::mono_ns() - begin > kLockPatienceNs;
    if (!fd && (late || !create || fd.error().code != Errc::not_found)) return fd;
    // Shared only keeps cleaners away, so a file system without flock still works.
    if (fd && (::flock(fd->get(), LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK || late) && !is_removed(fd->get()))
      return fd;
    pause_briefly();  // remove_slot_folders() is at it
  }
}

Result<base::UniqueFd> lock_slot_folder(int folder_fd, const std::filesystem::path& folder) {
  // Read-only on purpose: closing a writable file would wake every waiter through inotify, at each decision.
  base::UniqueFd fd(::openat(folder_fd, kLockName, O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return fail_errno("open " + (folder / kLockName).string(), errno);
  const std::uint64_t begin = base::mono_ns();
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return fail_errno("lock " + (folder / kLockName).string(), errno);
    if (base::mono_ns() - begin > kLockPatienceNs) {
      const auto holder = base::lock_holder(folder / kLockName);
      Error error{.code = Errc::timeout,
                  .message = "the slots of this host are locked" +
                             (holder ? " by process " + std::to_string(*holder) : std::string()) +
                             " (a decision takes under a millisecond: it may be stopped)"};
      error.retryable = true;
      return fail(std::move(error));
    }
    pause_briefly();
  }
  return fd;
}

void remove_slot_folders() {
  const std::filesystem::path own = slot_folder();
  const std::filesystem::path parent = own.parent_path();
  remove_if_idle(own);
  if (!is_ours(parent)) return;
  if (const auto names = base::list_directory(parent)) {
    for (const std::string& name : *names) {
      if (name.starts_with("slots-")) remove_if_idle(parent / name);  // of an earlier boot
    }
  }
  ::rmdir(parent.c_str());  // only when it is empty
}

}  // namespace trainctl::host
