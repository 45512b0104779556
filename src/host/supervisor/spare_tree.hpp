// SPDX-License-Identifier: Apache-2.0
// The spare copies of large sources (snapshot/spare.hpp) as runs use them.
#pragma once

#include <filesystem>

#include "format/paths.hpp"
#include "format/plan.hpp"
#include "snapshot/store.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// The private copy of the plan's snapshot: from a spare, else made now. `to` as for materialise().
Result<> make_source_tree(const snapshot::Store& store, const format::Plan& plan, const std::filesystem::path& to);

/// Starts a process that makes the spare for the next run of this source, as politely as it can, and goes on when
/// everything here has ended. Does nothing for what is small, or too large, or has a spare. Single-threaded callers
/// only.
void make_spare_aside(const format::Plan& plan, const format::RunPaths& run);

}  // namespace trainctl::host
