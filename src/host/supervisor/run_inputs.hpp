// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "format/paths.hpp"
#include "format/plan.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

bool copies_inputs(const format::Plan& plan);

/// Makes the attempt's own copies of inputs, for scripts that write to them. Links inside stay links, a file that the
/// input itself leads to is copied.
Result<> copy_inputs(const format::Plan& plan, const format::RunPaths& run, int attempt);

/// Errc::cannot_start for an input that is not on this machine: the script's own error would be a puzzling one, minutes
/// later.
Result<> check_inputs(const format::Plan& plan);

}  // namespace trainctl::host
