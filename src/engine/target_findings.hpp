// SPDX-License-Identifier: Apache-2.0
// What a probe of a target means for the runs that will go there.
#pragma once

#include <string>
#include <vector>

#include "base/json.hpp"

namespace trainctl::engine {

struct Finding {
  enum class Level { fine, note, problem };
  Level level = Level::fine;
  std::string what;  ///< "disk", "clock"
  std::string text;  ///< "12 GB free in /home/me/.trainctl"
  std::string hint;  ///< what to do; empty when there is nothing
};

/// Of the reply of Target::probe; what a target does not tell is left out. Pure.
std::vector<Finding> target_findings(const Json& probe, const Json& definition);

}  // namespace trainctl::engine
