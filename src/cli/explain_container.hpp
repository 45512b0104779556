// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "format/plan.hpp"

namespace trainctl::cli {

/// The engine's command line as the runner would give it, with the name the engine will be found by, $RUN for the run's
/// folder, and `command` as what the runner starts inside. Empty without a container.
std::vector<std::string> container_command(const format::Plan& plan, const std::vector<std::string>& command);

}  // namespace trainctl::cli
