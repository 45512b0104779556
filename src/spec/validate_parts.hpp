// SPDX-License-Identifier: Apache-2.0
// Parts of validate() that have a file of their own.
#pragma once

#include "spec/complaints.hpp"
#include "spec/run_configuration.hpp"

namespace trainctl::spec {

void check_environment(const RunConfiguration& config, Complaints& out);
void check_distribution(const RunConfiguration& config, Complaints& out);
/// Resources, limits, retry, stop, metrics.
void check_running(const RunConfiguration& config, Complaints& out);

}  // namespace trainctl::spec
