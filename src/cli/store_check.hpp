// SPDX-License-Identifier: Apache-2.0
// `store check`: everything of a store that can be read is read.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "archive/store.hpp"
#include "index/index.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {

struct StoreCheck {
  std::vector<index::Finding> findings;
  std::uint64_t runs = 0, names = 0, snapshots = 0, blobs = 0, blob_bytes = 0;
};

/// What is told of the progress, by what is read.
struct StoreCheckProgress {
  index::Progress runs;
  index::Progress blobs;
};

/// Every run's plan reads and its files fold, every name points to a run (or to one that was removed), every snapshot's
/// manifest reads, every stored file has its hash, the index is whole. Changes nothing.
Result<StoreCheck> check_store(const archive::Store& store, const StoreCheckProgress& progress);

}  // namespace trainctl::cli
