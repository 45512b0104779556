// SPDX-License-Identifier: Apache-2.0
// The logs of all ranks together, each line with its rank in front. The logs themselves stay as they are.
#pragma once

#include <optional>

#include "cli/output.hpp"
#include "format/paths.hpp"

namespace trainctl::cli {

/// Without `follow` rank after rank, with it as the lines come, until the run has ended. Returns the exit code.
int show_all_ranks(Context& context, const format::RunPaths& run, std::optional<int> attempt, bool follow);

}  // namespace trainctl::cli
