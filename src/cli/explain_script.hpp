// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "archive/store.hpp"
#include "engine/prepare.hpp"

namespace trainctl::cli {

/// The environment of a plan as `explain` shows it.
struct EnvironmentState {
  std::string description;  ///< empty: none is needed
  std::string request_key;  ///< hex
  std::string state;        ///< "nothing to build", "built", "locked, will be built", "will be resolved and built"
};
EnvironmentState environment_state(const archive::Store& store, const engine::Prepared& prepared);

/// The command line as the runner would start it, with "python" for the environment's interpreter and $VARIABLES for
/// what is only known at the start.
std::vector<std::string> explained_command(const format::Plan& plan);

/// A shell script that does the same by hand: environment, variables, command.
std::string shell_script(const engine::Prepared& prepared, const EnvironmentState& environment);

}  // namespace trainctl::cli
