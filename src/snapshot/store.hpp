// SPDX-License-Identifier: Apache-2.0
// The snapshot store of a user: `<store>/snapshots/`.
//   format                     "1\n"
//   packs/000001.pack, index   small blobs (pack.hpp)
//   objects/ab/<62 hex>        blobs above 1 MiB, as they are
//   manifests/<digest>         the text of manifest.hpp
//   cache/<key>                stat caches, disposable
//   tmp/                       half-written files of processes that may have died
//   partial/<64 hex>           the beginning of a large blob that is being sent here; the rest may come later
//   lock                       flock'ed by whoever appends; gc.lock: shared by users, exclusive by gc
// Order of writing: data, fdatasync, index record, fdatasync, manifest (durable). So a manifest that exists is whole.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/pack.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

class Store {
 public:
  /// Makes what is missing. Errc::store when a newer trainctl made it.
  static Result<Store> open(const std::filesystem::path& store);

  [[nodiscard]] bool has(std::string_view digest) const;
  /// The manifest's entries; its text is checked against the digest. Errc::not_found.
  [[nodiscard]] Result<std::vector<ManifestEntry>> manifest(std::string_view digest) const;
  [[nodiscard]] Result<std::vector<std::string>> digests() const;

  /// Writes the manifest durably (after its blobs) and returns its digest. An existing one is only marked as used.
  [[nodiscard]] Result<std::string> add_manifest(std::string_view text) const;
  /// The digests of the manifests that were used last, the newest first.
  [[nodiscard]] std::vector<std::string> recent_manifests(std::size_t most) const;
  /// Marks a manifest as just used: gc's grace begins anew.
  void touch(std::string_view digest) const;

  /// Those of `wanted` that the store has not.
  [[nodiscard]] Result<HashSet> missing(HashSet wanted) const;
  /// Where the packed ones of `wanted` lie.
  [[nodiscard]] Result<PlaceMap> places(const HashSet& wanted) const;

  /// Held while blobs are added or read: gc waits.
  [[nodiscard]] Result<base::UniqueFd> use() const;

  [[nodiscard]] const std::filesystem::path& root() const { return root_; }
  [[nodiscard]] std::filesystem::path index() const { return root_ / "index"; }
  [[nodiscard]] std::filesystem::path packs() const { return root_ / "packs"; }
  [[nodiscard]] std::filesystem::path loose(const Hash& hash) const;
  [[nodiscard]] std::filesystem::path partial(const Hash& hash) const;
  [[nodiscard]] std::filesystem::path manifest_path(std::string_view digest) const;
  [[nodiscard]] std::filesystem::path cache_path(const std::filesystem::path& source) const;

 private:
  explicit Store(std::filesystem::path root) : root_(std::move(root)) {}
  std::filesystem::path root_;
};

/// Adds blobs. Small ones are gathered and appended under the store's lock, at most 8 MiB at once.
class BlobWriter {
 public:
  BlobWriter(const Store& store, std::chrono::milliseconds lock_timeout) : store_(store), lock_timeout_(lock_timeout) {}

  /// A blob of at most kLooseAbove bytes.
  Result<> add(const Hash& hash, std::string_view data);
  /// A temporary file for a larger blob, on the file system of the objects; removed by drop_temporary or keep_loose.
  Result<base::UniqueFd> open_temporary(std::filesystem::path& path) const;
  /// Makes a written temporary file the blob `hash`, durably.
  Result<> keep_loose(const Hash& hash, base::UniqueFd file, const std::filesystem::path& path);
  /// All that was added is durable after this.
  Result<> finish();

 private:
  Result<> flush();
  Result<> forget_known(std::uint64_t& from);
  Result<> append_pending();

  const Store& store_;
  std::chrono::milliseconds lock_timeout_;
  std::string buffer_;                                    // heads and stored bytes, as they go into a pack
  std::vector<BlobPlace> pending_;                        // offset: of the stored bytes in buffer_
  std::unordered_map<Hash, std::size_t, HashOf> wanted_;  // those of pending_ that no index record names yet
  std::set<std::string> folders_;
  std::uint32_t last_pack_ = 1;
};

}  // namespace trainctl::snapshot
