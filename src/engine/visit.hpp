// SPDX-License-Identifier: Apache-2.0
// Ways to where a run is: for a program beside it, and for connections to what it listens on.
#pragma once

#include <string>
#include <vector>

#include "format/paths.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

/// The command line that becomes a program beside the run (Target::enter).
Result<std::vector<std::string>> way_to_program(const format::RunPaths& run, const target::Visit& visit);

/// The command line of one connection to `port` where the rank is (Target::forward).
Result<std::vector<std::string>> way_to_port(const format::RunPaths& run, int port, int rank);

}  // namespace trainctl::engine
