// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "format/plan.hpp"

namespace trainctl::format {

/// What the target of the run was called when the run was made.
inline std::string target_name(const Plan& plan) {
  return plan.target.value("name", "local");
}

}  // namespace trainctl::format
