// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "archive/store.hpp"
#include "cli/output.hpp"
#include "format/paths.hpp"

namespace trainctl::cli {

/// Who comes back to a run elsewhere that nobody followed for a minute hears in one line what it did meanwhile:
/// "digits-7 on gpubox · away 41 min: 3,212 lines, accuracy 0.91 → 0.947, still running · bytes verified ✓".
void tell_what_was_missed(const Context& context, const format::RunPaths& run);

}  // namespace trainctl::cli
