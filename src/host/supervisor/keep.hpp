// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "format/paths.hpp"
#include "format/plan.hpp"

namespace trainctl::host {

/// Brings the files that `keep` names to outputs/, under the same relative path: moved out of the run's own copy,
/// copied when the run is in place. What is in outputs/ already stays. Returns a sentence for each file that could not
/// be kept.
std::vector<std::string> keep_files(const format::Plan& plan, const format::AttemptPaths& attempt);

}  // namespace trainctl::host
