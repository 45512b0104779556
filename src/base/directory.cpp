// SPDX-License-Identifier: Apache-2.0
// Listing and removing directories.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::base {

namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// `where` gives the path for messages. It is asked only then: putting it together at each step of a deep tree is
// quadratic.

/// Names in the open directory, without "." and "..". Takes the descriptor.
template <class Where>
Result<std::vector<std::string>> names_in(UniqueFd fd, const Where& where) {
  const Directory directory(::fdopendir(fd.get()));
  if (!directory) return fail_errno("read the directory " + where(), errno);
  (void)fd.release();
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());  // NOLINT(concurrency-mt-unsafe): a stream of its own
    if (entry == nullptr && errno != 0) return fail_errno("read the directory " + where(), errno);
    if (entry == nullptr) return names;
    std::string name = static_cast<const char*>(entry->d_name);
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
}

/// Opens a directory below `parent` without following a link; gives it rwx first where its owner had taken them.
template <class Where>
Result<UniqueFd> open_for_removal(int parent, const std::string& name, const Where& where) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd fd(::openat(parent, name.c_str(), kFlags));
  if (!fd && errno == EACCES) {
    // fchmodat follows links. O_PATH pins the directory we looked at, and /proc names exactly that one.
    const UniqueFd handle(::openat(parent, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!handle) return fail_errno("open " + where(), errno);
    const std::string through = "/proc/self/fd/" + std::to_string(handle.get());
    if (::chmod(through.c_str(), S_IRWXU) != 0) return fail_errno("open " + where(), errno);
    fd.reset(::openat(parent, name.c_str(), kFlags));
  }
  if (!fd) return fail_errno("open " + where(), errno);
  struct stat info{};
  // Without w and x nothing in it can be unlinked. Not ours: chmod fails, and so will unlink, with the real reason.
  if (::fstat(fd.get(), &info) == 0 && (info.st_mode & S_IRWXU) != S_IRWXU) ::fchmod(fd.get(), S_IRWXU);
  return fd;
}

/// Unlinks `name` when it is no directory; true when nothing is left of it.
template <class Where>
Result<bool> unlink_file(int parent, const std::string& name, const Where& where) {
  if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return true;
  // Linux says EISDIR for a directory, POSIX EPERM. In a directory that is not writable EACCES hides which it is.
  const int number = errno;
  struct stat info{};
  if (::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode)) return false;
  return fail_errno("remove " + where(), number);
}

/// Removes what is in a directory. Holds one descriptor whatever the depth: a script can make trees deeper than our
/// limit of open files. The way up is "..", accepted only when it is the directory we came from.
class TreeRemover {
 public:
  explicit TreeRemover(fs::path root) : root_(std::move(root)) {}

  Result<> run() {
    TRY(enter(AT_FDCWD, root_.string()));
    while (!levels_.empty()) {
      if (levels_.back().names.empty()) {
        TRY(leave());
        continue;
      }
      const std::string name = std::move(levels_.back().names.back());
      levels_.back().names.pop_back();
      TRY_ASSIGN(const bool removed, unlink_file(fd_.get(), name, [&] { return here(name); }));
      if (!removed) TRY(enter(fd_.get(), name));
    }
    return {};
  }

 private:
  struct Level {
    std::string name;
    std::vector<std::string> names;  ///< what is left in it
    dev_t device = 0;
    ino_t inode = 0;
  };

  /// Path of the directory we are in, or of `name` in it.
  [[nodiscard]] std::string here(const std::string& name = {}) const {
    fs::path path;
    for (const Level& level : levels_) path /= level.name;
    return name.empty() ? path.string() : (path / name).string();
  }

  Result<> enter(int parent, const std::string& name) {
    const auto where = [&] { return here(name); };
    TRY_ASSIGN(UniqueFd fd, open_for_removal(parent, name, where));
    struct stat info{};
    if (::fstat(fd.get(), &info) != 0) return fail_errno("read the directory " + where(), errno);
    UniqueFd reader(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!reader) return fail_errno("read the directory " + where(), errno);
    TRY_ASSIGN(auto names, names_in(std::move(reader), where));
    levels_.push_back({.name = name, .names = std::move(names), .device = info.st_dev, .inode = info.st_ino});
    fd_ = std::move(fd);
    return {};
  }

  /// Removes the empty directory we are in and goes up.
  Result<> leave() {
    const Level empty = std::move(levels_.back());
    levels_.pop_back();
    UniqueFd parent;
    if (!levels_.empty()) {
      parent.reset(::openat(fd_.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!parent) return fail_errno("open " + here(), errno);
      struct stat info{};
      if (::fstat(parent.get(), &info) != 0 || info.st_dev != levels_.back().device ||
          info.st_ino != levels_.back().inode) {
        return fail(Errc::io, "cannot remove " + root_.string() + ": it was moved meanwhile");
      }
    }
    fd_.reset();
    const int at = levels_.empty() ? AT_FDCWD : parent.get();
    if (::unlinkat(at, empty.name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
      return fail_errno("remove " + here(empty.name), errno);
    }
    fd_ = std::move(parent);
    return {};
  }

  fs::path root_;
  std::vector<Level> levels_;
  UniqueFd fd_;  // the directory of levels_.back()
};

}  // namespace

Result<std::vector<std::string>> list_directory(const fs::path& path) {
  auto fd = open_file(path, O_RDONLY | O_DIRECTORY);
  if (!fd && fd.error().code == Errc::not_found) return std::vector<std::string>();
  if (!fd) return fail(std::move(fd).error());
  TRY_ASSIGN(auto names, names_in(std::move(*fd), [&] { return path.string(); }));
  std::sort(names.begin(), names.end());
  return names;
}

Result<> remove_tree(const fs::path& path) {
  const fs::path target = path.filename().empty() ? path.parent_path() : path;  // "a/b/" is "a/b"
  if (target.empty() || target == "/" || target.filename() == "." || target.filename() == "..") {
    return fail(Errc::invalid, "refusing to remove " + (path.empty() ? "an empty path" : path.string()));
  }
  TRY_ASSIGN(const bool gone, unlink_file(AT_FDCWD, target.string(), [&] { return target.string(); }));
  if (gone) return {};
  return TreeRemover(target).run();
}

}  // namespace trainctl::base
