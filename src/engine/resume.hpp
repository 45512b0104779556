// SPDX-License-Identifier: Apache-2.0
// "resume_from": from what a person wrote to the folder the script goes on from.
#pragma once

#include "archive/store.hpp"
#include "engine/elsewhere.hpp"
#include "engine/prepare.hpp"

namespace trainctl::engine {

/// Fills plan.resume_from from a run ("digits-42", "run:digits-42/checkpoints", "@") or a path. A Python script that
/// has an option --resume-from (the convention of Azure ML) gets it, too. Errors have the field's position.
/// With `elsewhere` the path is one of the target, and what is here is sent there.
Result<> add_resume(const archive::Store& store, const spec::LoadedRun& run, Elsewhere* elsewhere, Prepared& prepared);

}  // namespace trainctl::engine
