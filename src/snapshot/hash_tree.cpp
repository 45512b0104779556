// SPDX-License-Identifier: Apache-2.0
#include "snapshot/hash_tree.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/scan.hpp"
#include "snapshot/stat_cache.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBlock = 1U << 20U;
constexpr std::int64_t kForeignClockSlack = 10'000'000'000;

std::int64_t to_ns(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

void fill_stat(ScanEntry& file, const struct stat& status) {
  file.entry.mode = status.st_mode & 0777U;
  file.entry.size = static_cast<std::uint64_t>(status.st_size);
  file.mtime_ns = to_ns(status.st_mtim);
  file.ctime_ns = to_ns(status.st_ctim);
  file.inode = status.st_ino;
}

struct Found {
  ScanEntry file;
  fs::path path;
};

class Walk {
 public:
  explicit Walk(const fs::path& root) : root_(root) {}

  Result<> add(const fs::path& path, const std::string& name, int depth = 0);
  std::vector<Found> take() && {
    std::sort(found_.begin(), found_.end(),
              [](const Found& a, const Found& b) { return comes_before(a.file.entry, b.file.entry); });
    return std::move(found_);
  }

 private:
  Result<> add_folder(const fs::path& path, const std::string& name, int depth);
  Result<> add_link(const fs::path& path, const std::string& name);

  fs::path root_;
  std::vector<Found> found_;
};

Result<> Walk::add(const fs::path& path, const std::string& name, int depth) {
  constexpr int kDeepest = 200;
  struct stat status{};
  // The input itself may be a link.
  if ((depth == 0 ? ::stat(path.c_str(), &status) : ::lstat(path.c_str(), &status)) != 0)
    return fail_errno("read " + path.string(), errno);
  if (depth > kDeepest) return fail(Errc::invalid, path.string() + " lies too deep");
  if (S_ISDIR(status.st_mode)) return add_folder(path, name, depth);
  if (S_ISLNK(status.st_mode)) return add_link(path, name);
  if (!S_ISREG(status.st_mode)) return {};  // pipes and sockets hold nothing
  Found& one = found_.emplace_back();
  one.path = path;
  one.file.entry.path = name;
  fill_stat(one.file, status);
  return {};
}

Result<> Walk::add_folder(const fs::path& path, const std::string& name, int depth) {
  std::error_code problem;
  bool empty = true;
  for (auto at = fs::directory_iterator(path, problem); !problem && at != fs::directory_iterator();
       at.increment(problem)) {
    empty = false;
    TRY(add(at->path(), name + "/" + at->path().filename().string(), depth + 1));
  }
  if (problem) return fail_errno("list " + path.string(), problem.value());
  if (!empty) return {};
  Found& one = found_.emplace_back();
  one.file.entry = {.type = EntryType::directory, .mode = 0755, .path = name};
  return {};
}

Result<> Walk::add_link(const fs::path& path, const std::string& name) {
  std::error_code problem;
  const fs::path written = fs::read_symlink(path, problem);
  const fs::path inside = (path.parent_path() / written).lexically_normal().lexically_relative(root_);
  if (!problem && written.is_relative() && !inside.empty() && *inside.begin() != "..") {
    Found& one = found_.emplace_back();
    one.file.entry = {.type = EntryType::link, .path = name, .target = written.string()};
    return {};
  }
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return fail_errno("follow the link " + path.string(), errno);
  if (!S_ISREG(status.st_mode)) {
    return fail(Errc::invalid, "the link " + path.string() + " leads to a folder outside of the input",
                "name that folder as an input of its own");
  }
  Found& one = found_.emplace_back();
  one.path = path;
  one.file.entry.path = name;
  fill_stat(one.file, status);
  return {};
}

/// Reads the file; what it is must be the same before and after.
Result<Hash> hash_file(Found& one, const std::function<void(std::uint64_t)>& read) {
  TRY_ASSIGN(const auto fd, base::open_file(one.path, O_RDONLY | O_NONBLOCK));
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return fail_errno("read " + one.path.string(), errno);
  fill_stat(one.file, status);
  base::Sha256 hash;
  std::uint64_t size = 0;
  for (std::string block(kBlock, '\0');;) {
    const ssize_t count = ::read(fd.get(), block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("read " + one.path.string(), errno);
    if (count == 0) break;
    hash.update(std::string_view(block).substr(0, static_cast<std::size_t>(count)));
    size += static_cast<std::uint64_t>(count);
    read(static_cast<std::uint64_t>(count));
  }
  struct stat after{};
  const bool same = ::fstat(fd.get(), &after) == 0 && after.st_size == status.st_size &&
                    to_ns(after.st_mtim) == to_ns(status.st_mtim) && size == one.file.entry.size;
  if (!same) return fail(Errc::io, one.path.string() + " changes while it is read", "stop what writes to it");
  return hash.finish();
}

/// Gives every file its hash, from the cache where it can; what may be remembered next time goes into `next`.
Result<> hash_all(std::vector<Found>& found, StatCache cache, bool foreign_clock, StatCacheWriter& next,
                  const HashProgress& progress) {
  std::vector<bool> settled(found.size(), false);
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i].file.entry.type != EntryType::file) continue;
    const Hash* known = cache.next(found[i].file);
    settled[i] = known != nullptr;
    if (known != nullptr) found[i].file.entry.hash = *known;
    if (known == nullptr) total += found[i].file.entry.size;
  }
  std::uint64_t done = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    ScanEntry& file = found[i].file;
    if (file.entry.type != EntryType::file) continue;
    if (!settled[i]) {
      const std::int64_t began = coarse_now_ns();
      TRY_ASSIGN(file.entry.hash, hash_file(found[i], [&](std::uint64_t bytes) {
                   done += bytes;
                   if (progress) progress(done, total);
                 }));
      settled[i] = is_settled(file, began, foreign_clock ? kForeignClockSlack : 0);
    }
    if (settled[i]) next.add(file);
  }
  return {};
}

}  // namespace

Result<HashedTree> hash_tree(const Store& store, const fs::path& path, const HashProgress& progress) {
  const std::string name = path.filename().string();
  if (!is_safe_path(name)) return fail(Errc::invalid, path.string() + " has no name that an input could have");
  Walk walk(path);
  TRY(walk.add(path, name));
  std::vector<Found> found = std::move(walk).take();
  const fs::path cache = store.cache_path(path / "#input");
  StatCacheWriter next;
  TRY(hash_all(found, StatCache::load(cache), base::is_network_file_system(path), next, progress));
  HashedTree tree;
  tree.manifest = kManifestHeader;
  for (const Found& one : found) {
    append_line(tree.manifest, one.file.entry);
    if (one.file.entry.type != EntryType::file) continue;
    ++tree.files;
    tree.bytes += one.file.entry.size;
  }
  tree.digest = base::sha256_hex(tree.manifest);
  // Only a cache: a failure costs reading once more, nothing else.
  (void)base::write_file_atomic(cache, std::move(next).finish(hash_bytes(tree.manifest)));
  return tree;
}

}  // namespace trainctl::snapshot
