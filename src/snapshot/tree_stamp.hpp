// SPDX-License-Identifier: Apache-2.0
// How the files and folders of a tree were found, so that it can be told later that nobody has touched them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snapshot/manifest.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

struct Sighting {
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
  friend bool operator==(const Sighting&, const Sighting&) = default;
};

struct TreeStamp {
  std::string digest;  ///< of the snapshot that the tree is a copy of
  std::string boot;
  std::vector<Sighting> seen;  ///< as look_at() gives them
};

/// The folders that hold the entries, the root ("") among them; sorted.
std::vector<std::string> folders_of(const std::vector<ManifestEntry>& entries);

/// Looks at the entries of a snapshot's copy below `root`, then at their folders and at outputs/. A name that was added
/// or removed shows in its folder. Errc::not_found for what is gone.
Result<std::vector<Sighting>> look_at(int root, const std::vector<ManifestEntry>& entries);

/// Binary, with a checksum.
std::string encode_stamp(const TreeStamp& stamp);
std::optional<TreeStamp> decode_stamp(std::string_view data);

}  // namespace trainctl::snapshot
