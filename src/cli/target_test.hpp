// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/output.hpp"

namespace trainctl::cli {

/// `target test`: what is there, each finding with what to do. The exit code: 0, 75 when it cannot be reached, 5 when
/// it lets us not in, 3 when a finding keeps runs from starting.
int test_target(Context& context, const std::string& name);

/// `target clean`: what the host keeps for ended runs, or every trace of trainctl. Asks on a terminal.
int clean_target(Context& context, const std::string& name, bool all, bool yes);

}  // namespace trainctl::cli
