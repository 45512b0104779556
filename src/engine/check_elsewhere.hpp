// SPDX-License-Identifier: Apache-2.0
// What a run may say when it does not run here: a path of this machine means nothing on another one.
#pragma once

#include "base/json.hpp"
#include "spec/load.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

/// Paths that would have to be on the target and are written relative to a file here, with their positions.
Errors check_elsewhere(const spec::LoadedRun& run, const Json& definition);

/// More nodes than the target has hosts. Slurm finds as many as it has itself.
Result<> check_nodes(const spec::LoadedRun& run, const Json& definition);

}  // namespace trainctl::engine
