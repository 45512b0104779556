// SPDX-License-Identifier: Apache-2.0
// Makes the private copy of a snapshot that a run works in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snapshot/store.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

struct MaterialiseOptions {
  bool verify = false;       ///< check each blob's hash too (its length always is)
  bool make_outputs = true;  ///< an empty outputs/ at the top
  /// Set for a tree that is only read: files lose their write bits, and a large one that cannot share its bytes with
  /// the store becomes a symbolic link to them. The store's objects/ as seen from the destination.
  std::optional<std::string> objects = {};
  /// Asked now and then; false ends the work with Errc::canceled.
  std::function<bool()> go_on = {};
};

struct Materialised {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  std::uint64_t cloned = 0;  ///< files that share their bytes with the store until they are written
};

/// `destination` must not exist or be an empty directory; its parent must exist. Files get the mode they had, never a
/// hard link: writing into the copy cannot harm the store (`objects`: its blobs are made read-only first). Nothing is
/// written outside `destination`, whatever the manifest says. Not fsynced. After an error the destination holds a part;
/// the caller removes it.
Result<Materialised> materialise(const Store& store, std::string_view digest, const std::filesystem::path& destination,
                                 const MaterialiseOptions& options = {});

/// The same for some entries of a manifest, below the open folder `root`: none of them is there yet.
Result<Materialised> make_entries(const Store& store, const std::vector<ManifestEntry>& entries, int root,
                                  const MaterialiseOptions& options = {});

}  // namespace trainctl::snapshot
