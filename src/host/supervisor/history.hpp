// SPDX-License-Identifier: Apache-2.0
// What the attempts of a run so far have to say to the next one.
#pragma once

#include <string>
#include <vector>

#include "format/paths.hpp"
#include "host/supervisor/verdict.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

struct History {
  RetryCount retries = {};
  std::vector<std::string> acknowledged = {};  ///< control requests
};

/// Of attempts 1 to `attempts`. One that is followed by another and has no end was cut off by the infrastructure.
History read_history(const format::RunPaths& run, int attempts);

}  // namespace trainctl::host
