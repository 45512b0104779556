// SPDX-License-Identifier: Apache-2.0
// What a manifest has that another one has not. Two snapshots of one tree differ in a few of many thousand lines: those
// that stand in both word for word need not be understood again.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "snapshot/manifest.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

struct ManifestChange {
  std::vector<ManifestEntry> added;  ///< those that are no lines of the base, in order
  std::uint64_t bytes_kept = 0;      ///< of the files that are
};

/// `base` is a manifest that was found good before; what it is not only makes more lines count as new. `text` is
/// checked as parse_manifest does. Errc::store with the line.
Result<ManifestChange> parse_change(std::string_view text, std::string_view base);

}  // namespace trainctl::snapshot
