// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/list_outputs.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "format/output_list.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostProblems = 5;
constexpr std::size_t kBlock = 256U << 10U;
constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

bool is_dots(std::string_view name) {
  return name == "." || name == "..";
}

bool is_folder(int parent, const dirent& entry) {
  if (entry.d_type != DT_UNKNOWN) return entry.d_type == DT_DIR;
  struct stat status{};
  return ::fstatat(parent, entry.d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

/// An opened folder and those of its names that have not been listed yet, the next one last; folders end in a slash, so
/// that the order of the names is that of the paths.
struct Level {
  base::UniqueFd fd;
  std::string prefix;  ///< "" or "a/b/"
  std::vector<std::string> names;
};

class Lister {
 public:
  Lister(int out, const std::function<bool()>& hurry) : out_(out), hurry_(hurry), block_(kBlock, '\0') {}

  Result<OutputListing> run(const fs::path& folder) {
    base::UniqueFd root(::open(folder.c_str(), kFolderFlags));
    if (!root) {
      const int number = errno;
      if (number == ENOENT) return std::move(listing_);
      if (number != ELOOP && number != ENOTDIR) return fail_errno("open " + folder.string(), number);
      return fail(Errc::io, "their folder is none any more, and links are not followed");
    }
    enter(std::move(root), "");
    while (!levels_.empty()) {
      if (levels_.back().names.empty()) {
        levels_.pop_back();
        continue;
      }
      const std::string name = std::move(levels_.back().names.back());
      levels_.back().names.pop_back();
      TRY(take(name));
    }
    TRY(flush());
    return std::move(listing_);
  }

 private:
  void problem(const std::string& path, const std::string& why) {
    if (listing_.problems.size() < kMostProblems)
      listing_.problems.push_back("output " + base::to_utf8(path) + " " + why);
  }

  void enter(base::UniqueFd fd, std::string prefix) {
    Level level{.fd = std::move(fd), .prefix = std::move(prefix), .names = {}};
    const int copy = ::openat(level.fd.get(), ".", kFolderFlags);
    const Directory directory(copy >= 0 ? ::fdopendir(copy) : nullptr);
    if (!directory) return problem(level.prefix, "could not be listed: " + errno_text(errno));
    while (const dirent* entry = ::readdir(directory.get())) {  // NOLINT(concurrency-mt-unsafe): a stream of its own
      if (is_dots(entry->d_name)) continue;
      level.names.emplace_back(entry->d_name);
      if (is_folder(level.fd.get(), *entry)) level.names.back() += '/';
    }
    std::sort(level.names.begin(), level.names.end(), std::greater<>());
    levels_.push_back(std::move(level));
  }

  void take_folder(const std::string& name) {
    const std::string path = levels_.back().prefix + name;
    base::UniqueFd fd(::openat(levels_.back().fd.get(), name.c_str(), kFolderFlags));
    if (!fd) return problem(path, "could not be listed: " + errno_text(errno));
    enter(std::move(fd), path);
  }

  Result<> take(const std::string& name) {
    if (name.ends_with('/')) {
      take_folder(name);
      return {};
    }
    const int folder = levels_.back().fd.get();
    format::OutputEntry entry{.path = levels_.back().prefix + name};
    struct stat status{};
    if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      problem(entry.path, "could not be listed: " + errno_text(errno));
      return {};
    }
    if (S_ISREG(status.st_mode)) {
      take_file(folder, name, status, entry);
    } else if (S_ISLNK(status.st_mode)) {
      std::array<char, PATH_MAX> target{};
      const ssize_t length = ::readlinkat(folder, name.c_str(), target.data(), target.size());
      entry.link = std::string(target.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    } else {
      entry.special = S_ISFIFO(status.st_mode) ? "fifo" : S_ISSOCK(status.st_mode) ? "socket" : "device";
    }
    text_ += to_line(entry);
    return text_.size() < kBlock ? Result<>{} : flush();
  }

  void take_file(int folder, const std::string& name, const struct stat& status, format::OutputEntry& entry) {
    entry.size = static_cast<std::uint64_t>(status.st_size);
    entry.mode = status.st_mode & 07777;
    hash(folder, name, entry);
    ++listing_.files;
    listing_.bytes += entry.size;
  }

  /// Sets size and hash of what was read, or leaves the hash out.
  void hash(int folder, const std::string& name, format::OutputEntry& entry) {
    if (hurry_()) {
      ++listing_.unread;
      return;
    }
    // Not blocking: what is a fifo by now must not hold us.
    const base::UniqueFd fd(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd) return problem(entry.path, "could not be read: " + errno_text(errno));
    base::Sha256 sha;
    std::uint64_t size = 0;
    for (;;) {
      const ssize_t count = ::read(fd.get(), block_.data(), block_.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return problem(entry.path, "could not be read: " + errno_text(errno));
      if (count == 0) break;
      sha.update({block_.data(), static_cast<std::size_t>(count)});
      size += static_cast<std::uint64_t>(count);
      if (!hurry_()) continue;
      ++listing_.unread;
      return;
    }
    entry.size = size;
    entry.sha256 = sha.finish_hex();
  }

  Result<> flush() {
    TRY(base::write_all(out_, text_));
    text_.clear();
    return {};
  }

  int out_;
  const std::function<bool()>& hurry_;
  std::string block_;
  std::string text_;
  std::vector<Level> levels_;
  OutputListing listing_;
};

}  // namespace

bool has_outputs(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), kFolderFlags);
  const Directory directory(fd >= 0 ? ::fdopendir(fd) : nullptr);
  if (!directory) return errno != ENOENT;
  while (const dirent* entry = ::readdir(directory.get())) {  // NOLINT(concurrency-mt-unsafe): a stream of its own
    if (!is_dots(entry->d_name)) return true;
  }
  return false;
}

Result<OutputListing> list_outputs(const fs::path& folder, const fs::path& list, const std::function<bool()>& hurry) {
  const fs::path draft = list.parent_path() / (".outputs-" + base::new_ulid());
  auto written = [&]() -> Result<OutputListing> {
    TRY_ASSIGN(const auto out, base::open_file(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW));
    TRY_ASSIGN(OutputListing listing, Lister(out.get(), hurry).run(folder));
    if (base::file_size(draft).value_or(0) == 0) {
      ::unlink(draft.c_str());
      return listing;
    }
    TRY(base::sync_file(out.get()));
    if (::rename(draft.c_str(), list.c_str()) != 0) return fail_errno("create " + list.string(), errno);
    return listing;
  }();
  if (!written) ::unlink(draft.c_str());
  return written;
}

}  // namespace trainctl::host
