// SPDX-License-Identifier: Apache-2.0
// The manifest of a file or folder whose bytes stay where they are: what an input is, by content.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "snapshot/store.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

struct HashedTree {
  std::string digest;  ///< SHA-256 of `manifest`, hex
  std::string manifest;
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

/// Called while files are read: how many bytes of all that have to be.
using HashProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

/// Every file below `path` (no ignore rules), under the name of `path` itself: `data/train.csv`. A link that leads
/// outside is followed when it leads to a file, as its target is not there where the manifest goes. Files that did not
/// change since the last time are not read again (the store's stat cache). Errors: nothing there; a file that cannot be
/// read or changes meanwhile; a link to a folder outside.
Result<HashedTree> hash_tree(const Store& store, const std::filesystem::path& path, const HashProgress& progress = {});

}  // namespace trainctl::snapshot
