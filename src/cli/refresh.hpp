// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "format/paths.hpp"

namespace trainctl::cli {

/// Brings the copy of a run that grew elsewhere up to date, for five seconds at most, unless all of it is here. Returns
/// why it may be old, in words for a person: "gpubox does not answer …; shown is what was known 3 min ago"; empty when
/// it is not. With `followed` the caller copies a run that goes on himself.
std::string bring_up_to_date(const format::RunPaths& run, bool followed = false);

}  // namespace trainctl::cli
