// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::format {

/// Removes the run's folder: out of everyone's sight at once, then from the disk. False when there was none. The caller
/// keeps supervisors away from it.
Result<bool> remove_run(const StorePaths& store, const std::string& id);

/// Finishes removals that were interrupted; returns how many.
Result<std::size_t> sweep_removed(const StorePaths& store);

}  // namespace trainctl::format
