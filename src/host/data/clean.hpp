// SPDX-License-Identifier: Apache-2.0
// Taking away what runs left on this host.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

struct Cleaned {
  std::uint64_t runs = 0;                                 ///< removed
  std::vector<std::pair<std::string, std::string>> kept;  ///< id and name of those that go on
  std::uint64_t bytes = 0;                                ///< freed, about
  bool more = false;                                      ///< time was up: ask again
};

/// Removes ended runs, and the snapshots, inputs and environments that nothing needs any more. `everything`: the store
/// itself, and a runner that was pushed here, as if we had never been here; Errc::invalid, and nothing is removed,
/// while a run goes on. After `patience`, if given, the rest is left for the next call: a host has to be heard of while
/// thousands of folders go.
Result<Cleaned> clean(const format::StorePaths& store, bool everything,
                      std::optional<std::chrono::milliseconds> patience = {});

}  // namespace trainctl::host
