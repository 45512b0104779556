// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "archive/store.hpp"
#include "cli/output.hpp"
#include "engine/sync.hpp"
#include "target/target.hpp"

namespace trainctl::cli {

/// Asks all targets of these runs at once and says on stderr which could not be asked, and what is gone there.
std::vector<engine::TargetSync> refresh_runs(const Context& context, const archive::Store& store,
                                             const std::vector<std::string>& ids, std::chrono::milliseconds deadline,
                                             target::Until until);

}  // namespace trainctl::cli
