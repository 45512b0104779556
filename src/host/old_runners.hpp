// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>

#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// Removes runners of other versions from `folder`, where clients put them (trainctl-runner-<hash>), and drafts that a
/// broken connection left. Kept is what is younger than a day, what a process of this machine executes, and everything
/// while a run of the store has not ended: it may go on on another machine that shares the folder. Returns how many.
Result<std::size_t> remove_old_runners(const std::filesystem::path& folder, const format::StorePaths& store);

}  // namespace trainctl::host
