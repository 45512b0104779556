// SPDX-License-Identifier: Apache-2.0
// Brings the copies of runs on other targets up to date, all targets at once and none for longer than its deadline.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/store.hpp"
#include "format/paths.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

/// What one target gave.
struct TargetSync {
  std::string target;
  std::vector<std::string> runs;     ///< names of those that were looked at
  std::vector<std::string> missing;  ///< ids that the target does not have (any more)
  std::size_t busy = 0;              ///< another process copies these anyway
  std::uint64_t bytes = 0;
  std::uint64_t lines = 0;       ///< of logs, among the bytes
  std::optional<Error> problem;  ///< unavailable: it could not be asked, or not for long enough
};

/// Of the runs, those that grow elsewhere and were launched; the others are left out. Never longer than `deadline`, but
/// for ends of processes. What came is kept whatever the problem. `until`: Until::current or Until::state.
std::vector<TargetSync> sync(const std::vector<format::RunPaths>& runs, std::chrono::milliseconds deadline,
                             target::Until until = target::Until::current);

}  // namespace trainctl::engine
