// SPDX-License-Identifier: Apache-2.0
// What must be true of a run of the selftest, whatever was done to those who watched it.
#pragma once

#include <string>

#include "cli/selftest/checks.hpp"

namespace trainctl::cli::selftest {

/// The run has ended as its workload says, in its first attempt, started once, with the log byte for byte: adds the
/// evidence of it.
Result<> prove_ended(const Clients& clients, const std::string& run, const Workload& workload, Evidence& evidence);

/// The run was canceled; its log is the beginning of what it would have written, as long as its end records.
Result<> prove_canceled(const Clients& clients, const std::string& run, const Workload& workload, Evidence& evidence);

}  // namespace trainctl::cli::selftest
