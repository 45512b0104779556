// SPDX-License-Identifier: Apache-2.0
// Looking after a snapshot store: verify it, mend its index, remove what nothing needs.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "snapshot/store.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

struct CheckReport {
  std::uint64_t manifests = 0;
  std::uint64_t blobs = 0;
  std::uint64_t bytes = 0;            ///< of the blobs, unpacked
  std::vector<std::string> problems;  ///< one sentence each; empty when all is well
};

/// Called with the blobs (packs, for mend) done and all there are.
using MaintenanceProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

/// Reads every blob and compares hashes; every manifest must be whole and have its blobs.
Result<CheckReport> check(const Store& store, const MaintenanceProgress& progress = {});

/// Writes the index anew from the packs (whole, undamaged records only). Returns the number of blobs.
Result<std::uint64_t> rebuild_index(const Store& store, const MaintenanceProgress& progress = {});

struct MendReport {
  std::uint64_t blobs = 0;  ///< whole ones in packs
  std::uint64_t damaged_blobs = 0;
  std::uint64_t damaged_manifests = 0;  ///< damaged themselves, or with a blob that is
};

/// rebuild_index, then forgets what is damaged, so that the next take of the same files stores them anew.
Result<MendReport> mend(const Store& store, const MaintenanceProgress& progress = {});

struct GarbageReport {
  std::uint64_t manifests = 0;  ///< removed
  std::uint64_t blobs = 0;
  std::uint64_t bytes = 0;  ///< freed, about
};

/// Removes manifests that are neither `referenced` nor were used within `grace`, then the blobs no manifest names
/// (packs are rewritten when less than half of one is needed). Waits for takes and copies in progress; Errc::timeout
/// after `wait`.
Result<GarbageReport> collect_garbage(const Store& store, const std::set<std::string>& referenced,
                                      std::chrono::seconds grace,
                                      std::chrono::milliseconds wait = std::chrono::seconds(10));

}  // namespace trainctl::snapshot
