// SPDX-License-Identifier: Apache-2.0
#include "snapshot/tree_stamp.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/background.hpp"
#include "base/hash.hpp"
#include "snapshot/bytes.hpp"
#include "snapshot/folder_cursor.hpp"
#include "snapshot/manifest.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

constexpr std::string_view kMagic = "TCTREE1\n";
constexpr std::size_t kSighting = 32;
constexpr std::size_t kDigest = 64;
constexpr std::size_t kForTwo = 2'000;  ///< entries that are worth a thread

Result<Sighting> sight(int folder, const char* name, const std::string& path) {
  struct stat info{};
  if (::fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno("look at " + path, errno);
  constexpr std::int64_t kSecond = 1'000'000'000;
  return Sighting{.inode = info.st_ino,
                  .size = S_ISDIR(info.st_mode) ? 0 : static_cast<std::uint64_t>(info.st_size),
                  .mtime_ns = info.st_mtim.tv_sec * kSecond + info.st_mtim.tv_nsec,
                  .ctime_ns = info.st_ctim.tv_sec * kSecond + info.st_ctim.tv_nsec};
}

Result<std::vector<Sighting>> look_at_some(int root, std::span<const ManifestEntry> entries) {
  std::vector<Sighting> seen;
  seen.reserve(entries.size() + entries.size() / 8);
  FolderCursor cursor(root, FolderCursor::Missing::fail);
  std::string name;
  for (const ManifestEntry& entry : entries) {
    TRY_ASSIGN(const int folder, cursor.parent_of(entry.path, name));
    TRY_ASSIGN(const Sighting found, sight(folder, name.c_str(), entry.path));
    seen.push_back(found);
  }
  return seen;
}

/// A run waits for it: of many, two threads look at a half each.
Result<std::vector<Sighting>> look_at_all(int root, std::span<const ManifestEntry> entries) {
  if (entries.size() < kForTwo) return look_at_some(root, entries);
  const std::size_t half = entries.size() / 2;
  auto later = base::in_background([root, rest = entries.subspan(half)] { return look_at_some(root, rest); });
  TRY_ASSIGN(std::vector<Sighting> seen, look_at_some(root, entries.first(half)));
  TRY_ASSIGN(const auto rest, later.get());
  seen.insert(seen.end(), rest.begin(), rest.end());
  return seen;
}

}  // namespace

std::vector<std::string> folders_of(const std::vector<ManifestEntry>& entries) {
  std::vector<std::string> folders = {""};
  std::string_view last;
  for (const ManifestEntry& entry : entries) {
    const std::size_t end = entry.path.rfind('/');
    const std::string_view folder = std::string_view(entry.path).substr(0, end == std::string::npos ? 0 : end);
    if (folder == last) continue;
    last = folder;
    for (std::size_t slash = folder.find('/'); slash != std::string_view::npos; slash = folder.find('/', slash + 1))
      folders.emplace_back(folder.substr(0, slash));
    folders.emplace_back(folder);
  }
  std::sort(folders.begin(), folders.end());
  folders.erase(std::unique(folders.begin(), folders.end()), folders.end());
  return folders;
}

Result<std::vector<Sighting>> look_at(int root, const std::vector<ManifestEntry>& entries) {
  TRY_ASSIGN(std::vector<Sighting> seen, look_at_all(root, entries));
  FolderCursor cursor(root, FolderCursor::Missing::fail);
  std::string name;
  for (const std::string& path : folders_of(entries)) {
    TRY_ASSIGN(const int folder, cursor.parent_of(path.empty() ? "." : path, name));
    TRY_ASSIGN(const Sighting found, sight(folder, name.c_str(), path));
    seen.push_back(found);
  }
  TRY_ASSIGN(const Sighting outputs, sight(root, "outputs", "outputs"));
  seen.push_back(outputs);
  return seen;
}

std::string encode_stamp(const TreeStamp& stamp) {
  std::string out(kMagic);
  out.reserve(kMagic.size() + 2 * kDigest + stamp.seen.size() * kSighting);
  out += stamp.digest + stamp.boot + "\n";
  for (const Sighting& one : stamp.seen) {
    put(out, one.inode);
    put(out, one.size);
    put(out, one.mtime_ns);
    put(out, one.ctime_ns);
  }
  put(out, base::crc32c(out));
  return out;
}

std::optional<TreeStamp> decode_stamp(std::string_view data) {
  if (data.size() < kMagic.size() + kDigest + 5 || !data.starts_with(kMagic)) return std::nullopt;
  if (base::crc32c(data.substr(0, data.size() - 4)) != get<std::uint32_t>(data, data.size() - 4)) return std::nullopt;
  data = data.substr(kMagic.size(), data.size() - kMagic.size() - 4);
  const std::size_t line = data.find('\n');
  if (line == std::string_view::npos || line < kDigest || (data.size() - line - 1) % kSighting != 0)
    return std::nullopt;
  TreeStamp stamp;
  stamp.digest = data.substr(0, kDigest);
  stamp.boot = data.substr(kDigest, line - kDigest);
  for (std::size_t at = line + 1; at < data.size(); at += kSighting) {
    stamp.seen.push_back({.inode = get<std::uint64_t>(data, at),
                          .size = get<std::uint64_t>(data, at + 8),
                          .mtime_ns = get<std::int64_t>(data, at + 16),
                          .ctime_ns = get<std::int64_t>(data, at + 24)});
  }
  return stamp;
}

}  // namespace trainctl::snapshot
