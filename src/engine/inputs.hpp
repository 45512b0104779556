// SPDX-License-Identifier: Apache-2.0
// Where the inputs of a run are: a path of this machine, or what another run wrote.
#pragma once

#include "archive/store.hpp"
#include "engine/elsewhere.hpp"
#include "spec/load.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

/// Sources that this version cannot get (data:, model:, URLs), with their positions. Touches no file.
Errors check_inputs(const spec::LoadedRun& run);

/// "run:digits-42/model" becomes the path of that output of the run, "~/x" that of the home directory, "host:/x" the
/// path /x of the target. An output is named as its run declared it, or by its path below outputs/; without one all of
/// outputs/ is meant. With `elsewhere`, paths are those of the target: what is here is sent there, outputs of a run
/// that lies there are used where they are. Errors: the run is unknown or has not ended, it has no such output (its
/// outputs are listed), the path is not there.
Errors resolve_inputs(const archive::Store& store, spec::LoadedRun& run, Elsewhere* elsewhere = nullptr);

}  // namespace trainctl::engine
