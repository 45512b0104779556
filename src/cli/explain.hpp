// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "archive/store.hpp"
#include "cli/output.hpp"
#include "spec/load.hpp"

namespace trainctl::cli {

struct ExplainOptions {
  bool origin = false;  ///< where each value came from
  bool script = false;  ///< --format sh
  bool bare_command = false;
};

/// Prints what would run: files, environment, command line, variables, limits. Starts and stores nothing. The exit
/// code.
int explain(Context& context, const archive::Store& store, const spec::LoadedRun& run, const ExplainOptions& options);

}  // namespace trainctl::cli
