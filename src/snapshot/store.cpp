// SPDX-License-Identifier: Apache-2.0
#include "snapshot/store.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/pack.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormat = "1\n";
constexpr std::uint64_t kUsePatienceNs = 10'000'000'000;
constexpr long kUsePollNs = 20'000'000;

bool is_digest(std::string_view text) {
  Hash hash;
  return parse_hash(text, hash);
}

}  // namespace

Result<Store> Store::open(const fs::path& store) {
  Store opened(store / "snapshots");
  const fs::path format = opened.root_ / "format";
  TRY_ASSIGN(const auto written, base::read_file_if_exists(format, 64));
  if (written && *written == kFormat) return opened;
  if (written && !written->empty()) {
    return fail(Errc::store,
                "the snapshot store " + opened.root_.string() + " has format " +
                    written->substr(0, written->find('\n')) + ", this trainctl knows format 1",
                "upgrade trainctl");
  }
  for (const char* folder : {"packs", "objects", "manifests", "cache", "tmp"})
    TRY(base::make_directories(opened.root_ / folder));
  TRY(base::write_file_durable(format, kFormat));
  return opened;
}

fs::path Store::manifest_path(std::string_view digest) const {
  return root_ / "manifests" / std::string(digest);
}

fs::path Store::loose(const Hash& hash) const {
  const std::string hex = to_hex(hash);
  return root_ / "objects" / hex.substr(0, 2) / hex.substr(2);
}

fs::path Store::partial(const Hash& hash) const {
  return root_ / "partial" / to_hex(hash);
}

fs::path Store::cache_path(const fs::path& source) const {
  return root_ / "cache" / base::sha256_hex(source.string()).substr(0, 32);
}

bool Store::has(std::string_view digest) const {
  return is_digest(digest) && base::exists(manifest_path(digest));
}

void Store::touch(std::string_view digest) const {
  static_cast<void>(::utimensat(AT_FDCWD, manifest_path(digest).c_str(), nullptr, AT_SYMLINK_NOFOLLOW));
}

Result<std::vector<ManifestEntry>> Store::manifest(std::string_view digest) const {
  if (!is_digest(digest)) return fail(Errc::invalid, "not a snapshot digest: " + std::string(digest));
  TRY_ASSIGN(const auto text, base::read_file_if_exists(manifest_path(digest)));
  if (!text) {
    return fail(Errc::not_found, "the store has no snapshot " + std::string(digest),
                "it was removed, or made on another machine");
  }
  if (base::sha256_hex(*text) != digest) {
    return fail(Errc::store, "the manifest of snapshot " + std::string(digest) + " is damaged: its hash differs",
                "take the snapshot again");
  }
  auto entries = parse_manifest(*text);
  if (!entries) return fail(std::move(entries).error().with_context("reading snapshot " + std::string(digest)));
  return entries;
}

Result<std::vector<std::string>> Store::digests() const {
  TRY_ASSIGN(std::vector<std::string> names, base::list_directory(root_ / "manifests"));
  std::erase_if(names, [](const std::string& name) { return !is_digest(name); });
  return names;
}

Result<std::string> Store::add_manifest(std::string_view text) const {
  std::string digest = base::sha256_hex(text);
  if (base::file_size(manifest_path(digest)) == text.size()) {
    touch(digest);
    return digest;
  }
  TRY(base::write_file_durable(manifest_path(digest), text));
  return digest;
}

std::vector<std::string> Store::recent_manifests(std::size_t most) const {
  std::vector<std::pair<fs::file_time_type, std::string>> known;
  std::error_code problem;
  for (auto at = fs::directory_iterator(root_ / "manifests", problem); !problem && at != fs::directory_iterator();
       at.increment(problem)) {
    std::error_code ignored;
    std::string name = at->path().filename().string();
    if (has(name)) known.emplace_back(at->last_write_time(ignored), std::move(name));
  }
  std::sort(known.rbegin(), known.rend());
  std::vector<std::string> digests;
  for (std::size_t i = 0; i < known.size() && i < most; ++i) digests.push_back(std::move(known[i].second));
  return digests;
}

Result<base::UniqueFd> Store::use() const {
  const fs::path path = root_ / "gc.lock";
  TRY_ASSIGN(base::UniqueFd fd, base::open_file(path, O_RDONLY | O_CREAT | O_NOFOLLOW));
  const std::uint64_t deadline = base::mono_ns() + kUsePatienceNs;
  while (::flock(fd.get(), LOCK_SH | LOCK_NB) != 0) {
    // Where a file system has no locks nobody can remove anything: that takes this lock for itself.
    if (errno == ENOLCK || errno == ENOSYS || errno == EOPNOTSUPP) return fd;
    if (errno != EWOULDBLOCK && errno != EINTR) return fail_errno("lock " + path.string(), errno);
    if (base::mono_ns() >= deadline) {
      const auto holder = base::lock_holder(path);
      return fail(Errc::timeout,
                  path.string() + " is locked by " +
                      (holder ? "process " + std::to_string(*holder) : std::string("another process")) +
                      ", which removes old snapshots",
                  "wait for it to end, or stop it");
    }
    const timespec pause{0, kUsePollNs};  // flock has no deadline of its own
    ::nanosleep(&pause, nullptr);
  }
  return fd;
}

Result<PlaceMap> Store::places(const HashSet& wanted) const {
  PlaceMap found;
  TRY_ASSIGN(const std::string data, read_index(index(), 0));
  for (std::size_t at = 0; at < data.size() && found.size() < wanted.size(); at += kIndexRecord) {
    Hash hash;
    std::memcpy(hash.data(), data.data() + at, hash.size());
    if (!wanted.contains(hash)) continue;
    if (const auto place = decode_index_record(std::string_view(data).substr(at, kIndexRecord))) {
      found.insert_or_assign(hash, *place);  // a later record replaces an earlier one
    }
  }
  return found;
}

Result<HashSet> Store::missing(HashSet wanted) const {
  TRY_ASSIGN(const PlaceMap packed, places(wanted));
  std::erase_if(wanted, [&](const Hash& hash) { return packed.contains(hash) || base::exists(loose(hash)); });
  return wanted;
}

}  // namespace trainctl::snapshot
