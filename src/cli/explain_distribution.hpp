// SPDX-License-Identifier: Apache-2.0
// What `explain` says about the processes of a run.
#pragma once

#include <string>

#include "format/plan.hpp"

namespace trainctl::cli {

/// "pytorch (gloo), 2 processes", "tensorflow, 1 chief, 2 workers, 1 parameter server on 2 nodes"; empty for a plain
/// run.
std::string distribution_text(const format::Plan& plan);

/// Lines of a shell script that start `command` (already quoted) as the processes of the run, on one machine.
std::string by_hand(const format::Plan& plan, const std::string& command);

}  // namespace trainctl::cli
