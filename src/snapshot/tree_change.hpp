// SPDX-License-Identifier: Apache-2.0
// Makes a copy of one snapshot the copy of another by changing what differs.
#pragma once

#include <vector>

#include "snapshot/manifest.hpp"
#include "snapshot/store.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

/// In manifest order; an entry that changed is in both.
struct TreeChange {
  std::vector<ManifestEntry> removed;
  std::vector<ManifestEntry> added;
};

TreeChange difference(const std::vector<ManifestEntry>& from, const std::vector<ManifestEntry>& to);

/// `root` is an open folder with a whole, private copy of the first; `to` are all entries of the second. Links are
/// never followed. After an error it holds neither.
Result<> apply(const Store& store, const TreeChange& change, const std::vector<ManifestEntry>& to, int root);

}  // namespace trainctl::snapshot
