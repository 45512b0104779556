// SPDX-License-Identifier: Apache-2.0
// Sends what a host lacks of a run's files: its source, and inputs of this machine.
#pragma once

#include "base/json.hpp"
#include "target/host/runner_client.hpp"
#include "target/target.hpp"

namespace trainctl::target {

/// What of this machine the run needs there, as the "needs" of a launch: {"snapshots": [digest], "inputs": [digest]}.
Result<Json> needed_files(const RunRef& ref);

/// Asks the host what it has, then sends the rest in one stream; a large file that was cut goes on where it was.
/// Everything the run's plan names is there, durably, when it returns. Errc::io (retryable) when a file changed
/// meanwhile.
Result<> send_files(RunnerClient& client, const RunRef& ref, const Cancel& cancel);

}  // namespace trainctl::target
