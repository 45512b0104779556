// SPDX-License-Identifier: Apache-2.0
// What `run` and `submit` share: prepare, say in one line what will run, start, follow.
#pragma once

#include <string>
#include <vector>

#include "cli/options.hpp"
#include "cli/output.hpp"
#include "spec/load.hpp"

namespace trainctl::cli {

/// The options that change a configuration or how it is started.
struct LaunchArguments {
  spec::Overrides overrides;
  std::string profile;
  std::string resume;  ///< a run or a path to go on from
  bool detach = false;
  bool no_collect = false;
  bool in_place = false;
  bool require_clean = false;
  bool accept_large = false;
  bool dry_run = false;
  bool bare_command = false;  ///< `run -- CMD`
};

void add_launch_options(Options& app, LaunchArguments& arguments);

spec::LoadOptions load_options(const LaunchArguments& arguments);

/// Prints why nothing was started; the exit code: 125 for `run -- CMD`, else the first error's.
int report_not_started(Context& context, const Errors& errors, bool bare_command);

/// Starts the run and follows it (unless --detach); the exit code.
int launch(Context& context, const spec::LoadedRun& run, const LaunchArguments& arguments);

}  // namespace trainctl::cli
