// SPDX-License-Identifier: Apache-2.0
#include "host/metrics/file_finder.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"

namespace trainctl::host {
namespace {

constexpr std::size_t kMaxFolders = 20'000;
constexpr int kMaxDepth = 24;
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kSettledNs = 2 * kSecond;

struct Closer {
  void operator()(DIR* folder) const { ::closedir(folder); }
};
using Listing = std::unique_ptr<DIR, Closer>;

std::int64_t changed_ns(const struct stat& status) {
  return status.st_mtim.tv_sec * kSecond + status.st_mtim.tv_nsec;
}

bool is_skipped_folder(std::string_view name) {
  constexpr std::array<std::string_view, 4> kNames = {"node_modules", "__pycache__", "site-packages", "venv"};
  return name.starts_with('.') || std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

enum class EntryType { file, folder, other };

EntryType type_of(DIR* listing, const dirent& entry) {
  if (entry.d_type == DT_REG) return EntryType::file;
  if (entry.d_type == DT_DIR) return EntryType::folder;
  if (entry.d_type != DT_UNKNOWN) return EntryType::other;
  struct stat status{};
  if (::fstatat(::dirfd(listing), entry.d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) return EntryType::other;
  if (S_ISREG(status.st_mode)) return EntryType::file;
  return S_ISDIR(status.st_mode) ? EntryType::folder : EntryType::other;
}

/// Calls `visit(name, type)` for each entry until it returns false.
template <class Visit>
bool list(const std::filesystem::path& path, const Visit& visit) {
  const Listing listing(::opendir(path.c_str()));
  if (!listing) return false;
  while (const dirent* entry = ::readdir(listing.get())) {  // NOLINT(concurrency-mt-unsafe): a stream of its own
    const std::string_view name(entry->d_name);
    if (name == "." || name == "..") continue;
    if (!visit(name, type_of(listing.get(), *entry))) break;
  }
  return true;
}

/// What a file's name says; nothing when it is of no wanted kind.
std::optional<FoundKind> kind_of(std::string_view base_name, WantedKinds wanted) {
  if (wanted.tensorboard && base_name.find("tfevents") != std::string_view::npos) return FoundKind::tensorboard;
  if (wanted.chainer && base_name == "log") return FoundKind::chainer;
  if (wanted.lightning && base_name == "metrics.csv") return FoundKind::lightning;
  return std::nullopt;
}

}  // namespace

QuickLook look_for_metric_files(const std::vector<FinderRoot>& roots, base::WallTime since, WantedKinds wanted,
                                int budget) {
  std::vector<std::filesystem::path> level;
  level.reserve(roots.size());
  for (const FinderRoot& root : roots) level.push_back(root.path);
  const auto is_new = [since](const std::filesystem::path& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 && changed_ns(status) / 1000 >= since.time_since_epoch().count();
  };
  QuickLook result = QuickLook::none;
  for (int depth = 0; depth <= kMaxDepth && !level.empty(); ++depth) {  // what scripts write lies near the top
    std::vector<std::filesystem::path> next;
    for (const auto& path : level) {
      list(path, [&](std::string_view name, EntryType type) {
        if (--budget < 0) result = QuickLook::unknown;
        if (type == EntryType::file && kind_of(name, wanted) && is_new(path / name)) result = QuickLook::found;
        if (type == EntryType::folder && !is_skipped_folder(name)) next.push_back(path / name);
        return result == QuickLook::none;
      });
      if (result != QuickLook::none) return result;
    }
    level = std::move(next);
  }
  return result;
}

std::vector<FoundFile> FileFinder::look() {
  std::vector<FoundFile> found;
  if (folders_.empty())
    for (const FinderRoot& root : roots_) pending_.emplace_back(root.path, Folder{.name = root.name});
  for (auto& [path, folder] : folders_) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) continue;  // perhaps it comes back
    if (folder.changed_ns == changed_ns(status)) continue;
    if (read_folder(path, folder, found)) {
      // Two changes within one tick of the file system's clock look the same: wait until the clock has moved on.
      const std::int64_t now = base::wall_now().time_since_epoch().count() * 1000;
      folder.changed_ns = now - changed_ns(status) > kSettledNs ? changed_ns(status) : -1;
    }
  }
  while (!pending_.empty()) {
    auto [path, folder] = std::move(pending_.back());
    pending_.pop_back();
    if (folders_.contains(path)) continue;
    overflown_ = overflown_ || folders_.size() >= kMaxFolders;
    if (overflown_ || folder.depth > kMaxDepth) continue;
    read_folder(path, folder, found);
    folders_.emplace(std::move(path), std::move(folder));
  }
  std::sort(found.begin(), found.end(), [](const FoundFile& a, const FoundFile& b) { return a.name < b.name; });
  return found;
}

bool FileFinder::read_folder(const std::filesystem::path& path, const Folder& folder, std::vector<FoundFile>& found) {
  return list(path, [&](std::string_view name, EntryType type) {
    if (type == EntryType::folder && !is_skipped_folder(name)) {
      auto below = path / name;
      // The outputs are a root of their own where the rest is elsewhere; the same folder is not read twice.
      if (!folders_.contains(below))
        pending_.emplace_back(std::move(below),
                              Folder{.name = folder.name + std::string(name) + "/", .depth = folder.depth + 1});
    } else if (type == EntryType::file) {
      consider_file(path / name, folder.name + std::string(name), name, found);
    }
    return true;
  });
}

void FileFinder::consider_file(const std::filesystem::path& path, const std::string& name, std::string_view base_name,
                               std::vector<FoundFile>& found) {
  const auto kind = kind_of(base_name, wanted_);
  if (!kind || known_.contains(path)) return;
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return;
  // One that is older may be written to yet: it is looked at again when its folder changes.
  if (changed_ns(status) / 1000 < since_.time_since_epoch().count()) return;
  known_.insert(path);
  found.push_back({name, path, *kind});
}

}  // namespace trainctl::host
