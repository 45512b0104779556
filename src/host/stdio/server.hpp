// SPDX-License-Identifier: Apache-2.0
// `trainctl-runner stdio`: the runner as a client sees it, over a pair of pipes (ssh). Protocol:
// docs/runner-protocol.md.
#pragma once

#include <string>

#include "host/stdio/operations.hpp"

namespace trainctl::host {

/// How a connection begins.
struct StdioOpening {
  std::string begin = {};  ///< said before all else, in one piece with the hello
  std::string first = {};  ///< the client's first bytes, which came another way than by `in_fd`
};

/// Serves until the client closes its side. Single-threaded; runs that were launched go on without it. Returns the exit
/// code: 0 after a clean end, 2 when the other side does not speak the protocol, 75 when the connection broke.
int stdio_main(int in_fd, int out_fd, const StdioContext& context, const StdioOpening& opening = {});

}  // namespace trainctl::host
