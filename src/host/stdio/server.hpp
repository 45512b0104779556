// SPDX-License-Identifier: Apache-2.0
// `trainctl-runner stdio`: the runner as a client sees it, over a pair of pipes (ssh). Protocol:
// docs/runner-protocol.md.
#pragma once

#include <string_view>

#include "host/stdio/operations.hpp"

namespace trainctl::host {

/// Serves until the client closes its side; says `begin` before all else, in one piece with its hello. Single-threaded;
/// runs that were launched go on without it. Returns the exit code: 0 after a clean end, 2 when the other side does not
/// speak the protocol, 75 when the connection broke.
int stdio_main(int in_fd, int out_fd, const StdioContext& context, std::string_view begin = {});

}  // namespace trainctl::host
