// SPDX-License-Identifier: Apache-2.0
// What kills leave behind. Everything that appears whole is made under a hidden name first; such a draft whose maker
// was killed stays.
#pragma once

#include "format/paths.hpp"

namespace trainctl::host {

/// Removes the drafts of a run and of one of its attempts. Only for the holder of the supervisor's lock, while none of
/// its children is at work: a waiter that outlived its supervisor finds its draft gone and starts nothing. `guest`: the
/// folder is that of node 0, which may be at work; only what this node made there is removed.
void remove_drafts(const format::RunPaths& run, int attempt, bool guest);

/// Removes secret values that nobody will need: of runs that have ended (not in their first minute: looking at every
/// run of a burst of submits would make each start wait), and after an hour, in which a submit may be at work, drafts
/// and those of runs that do not exist.
void sweep_secrets(const format::StorePaths& store);

}  // namespace trainctl::host
