// SPDX-License-Identifier: Apache-2.0
// A watch of runs that a batch system starts: the growth of their folders, and between it what the batch system says.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "host/stdio/operations.hpp"

namespace trainctl::host {

/// `inner` as it is when none of the runs has to do with a batch system. `follow` false: what can be known now is
/// waited for, then it ends with `inner`.
std::unique_ptr<Source> with_observations(const StdioContext& context, const std::vector<std::string>& runs,
                                          bool follow, std::unique_ptr<Source> inner);

}  // namespace trainctl::host
