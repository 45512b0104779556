// SPDX-License-Identifier: Apache-2.0
// Listing and removing directories.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/file.hpp"

namespace trainctl::base {

namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

/// Names in the open directory, without "." and "..". Takes the descriptor.
Result<std::vector<std::string>> names_in(UniqueFd fd, const fs::path& path) {
  const Directory directory(::fdopendir(fd.get()));
  if (!directory) return fail_errno("read the directory " + path.string(), errno);
  (void)fd.release();
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr && errno != 0) return fail_errno("read the directory " + path.string(), errno);
    if (entry == nullptr) return names;
    std::string name = static_cast<const char*>(entry->d_name);
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
}

/// Opens a directory below `parent` without following a link; gives it rwx first where its owner had taken them.
Result<UniqueFd> open_for_removal(int parent, const std::string& name, const fs::path& path) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd fd(::openat(parent, name.c_str(), kFlags));
  if (!fd && errno == EACCES) {
    // fchmodat follows links. O_PATH pins the directory we looked at, and /proc names exactly that one.
    const UniqueFd handle(::openat(parent, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!handle) return fail_errno("open " + path.string(), errno);
    const std::string through = "/proc/self/fd/" + std::to_string(handle.get());
    if (::chmod(through.c_str(), S_IRWXU) != 0) return fail_errno("open " + path.string(), errno);
    fd.reset(::openat(parent, name.c_str(), kFlags));
  }
  if (!fd) return fail_errno("open " + path.string(), errno);
  struct stat info{};
  // Without w and x nothing in it can be unlinked. Not ours: chmod fails, and so will unlink, with the real reason.
  if (::fstat(fd.get(), &info) == 0 && (info.st_mode & S_IRWXU) != S_IRWXU) ::fchmod(fd.get(), S_IRWXU);
  return fd;
}

/// Unlinks `name` when it is no directory; true when nothing is left of it.
Result<bool> unlink_file(int parent, const std::string& name, const fs::path& path) {
  if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return true;
  // Linux says EISDIR for a directory, POSIX EPERM. In a directory that is not writable EACCES hides which it is.
  const int number = errno;
  struct stat info{};
  if (::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode)) return false;
  return fail_errno("remove " + path.string(), number);
}

/// One directory on the way down.
struct Level {
  UniqueFd fd;
  std::vector<std::string> names;
  fs::path path;
};

Result<Level> enter(int parent, const std::string& name, fs::path path) {
  TRY_ASSIGN(UniqueFd fd, open_for_removal(parent, name, path));
  UniqueFd reader(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!reader) return fail_errno("read the directory " + path.string(), errno);
  TRY_ASSIGN(auto names, names_in(std::move(reader), path));
  return Level{std::move(fd), std::move(names), std::move(path)};
}

}  // namespace

Result<std::vector<std::string>> list_directory(const fs::path& path) {
  auto fd = open_file(path, O_RDONLY | O_DIRECTORY);
  if (!fd && fd.error().code == Errc::not_found) return std::vector<std::string>();
  if (!fd) return fail(std::move(fd).error());
  TRY_ASSIGN(auto names, names_in(std::move(*fd), path));
  std::sort(names.begin(), names.end());
  return names;
}

Result<> remove_tree(const fs::path& path) {
  const fs::path target = path.filename().empty() ? path.parent_path() : path;  // "a/b/" is "a/b"
  if (target.empty() || target == "/" || target.filename() == "." || target.filename() == "..") {
    return fail(Errc::invalid, "refusing to remove " + (path.empty() ? "an empty path" : path.string()));
  }
  TRY_ASSIGN(const bool gone, unlink_file(AT_FDCWD, target.string(), target));
  if (gone) return {};
  // An own stack: the depth of a tree made by a script must not be ours. Each level keeps one descriptor.
  std::vector<Level> levels;
  TRY_ASSIGN(Level top, enter(AT_FDCWD, target.string(), target));
  levels.push_back(std::move(top));
  while (!levels.empty()) {
    Level& level = levels.back();
    if (level.names.empty()) {
      const int parent = levels.size() > 1 ? levels[levels.size() - 2].fd.get() : AT_FDCWD;
      const std::string name = levels.size() > 1 ? level.path.filename().string() : level.path.string();
      if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
        return fail_errno("remove " + level.path.string(), errno);
      }
      levels.pop_back();
      continue;
    }
    const std::string name = std::move(level.names.back());
    level.names.pop_back();
    fs::path child = level.path / name;
    TRY_ASSIGN(const bool removed, unlink_file(level.fd.get(), name, child));
    if (removed) continue;
    TRY_ASSIGN(Level next, enter(level.fd.get(), name, std::move(child)));
    levels.push_back(std::move(next));
  }
  return {};
}

}  // namespace trainctl::base
