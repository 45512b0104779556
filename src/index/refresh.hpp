// SPDX-License-Identifier: Apache-2.0
// How the index follows the run folders. For the holder of the lock.
#pragma once

#include <chrono>
#include <cstdint>

#include "archive/store.hpp"
#include "index/index.hpp"
#include "index/run_writer.hpp"
#include "index/sqlite.hpp"

namespace trainctl::index {

class Refresher {
 public:
  Refresher(Database& database, const archive::Store& store, RunWriter writer)
      : database_(database), store_(store), writer_(std::move(writer)) {}

  /// Takes in folders that appeared and forgets those that are gone. Looks into runs/ only when it changed.
  Result<> discover(const Progress& progress);
  /// Looks at the runs that have not ended, oldest look first, until the time is over. True when all were seen; then
  /// `began` is when the sweep that just ended began.
  Result<bool> sweep(std::chrono::milliseconds budget, base::WallTime& began);

  [[nodiscard]] std::uint64_t added() const { return added_; }
  [[nodiscard]] std::uint64_t updated() const { return updated_; }
  [[nodiscard]] std::uint64_t removed() const { return removed_; }

 private:
  struct Known {
    std::string highest;
    std::uint64_t count = 0;
    std::uint64_t digest = 0;  ///< sum of id_digest of all known ids
    std::int64_t folder_mtime = 0;
  };
  Result<Known> load();
  Result<> save(const Known& known);
  Result<std::vector<std::string>> difference(const std::vector<std::string>& listed, Known& known);
  Result<bool> take_in(std::vector<std::string> ids, Known& known, const Progress& progress);

  Database& database_;
  const archive::Store& store_;
  RunWriter writer_;
  std::uint64_t added_ = 0, updated_ = 0, removed_ = 0;
};

/// Entries of a directory that are ULIDs, in no order. 100,000 take some 20 ms.
Result<std::vector<std::string>> list_ulids(const std::filesystem::path& folder);

}  // namespace trainctl::index
