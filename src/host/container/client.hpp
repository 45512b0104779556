// SPDX-License-Identifier: Apache-2.0
// The host's side of a rank that runs in a container: between the waiter, whose child it is, and the engine. The waiter
// sees an ordinary process that starts, gets signals and ends as the script in the container does.
#pragma once

#include <string>
#include <vector>

#include "host/container/engine.hpp"
#include "host/container/inside.hpp"

namespace trainctl::host {

/// What runs in place of the rank's program.
struct ContainerLaunch {
  ContainerEngine engine;
  std::string name;
  std::vector<std::string> argv;  ///< docker run …, with the words for the runner inside
  InsideOrder order;              ///< goes in through the container's stdin
  bool memory_limited = false;    ///< who is killed for memory has met resources.memory
};

/// How it ended, for the waiter (see RankExit); written as JSON.
struct ContainerOutcome {
  int code = 0;
  int signal = 0;
  std::string cause = {};
  std::string message = {};
};

/// The life of the forked process; signals are blocked. `errors` is closed when the script runs, or gets "<code>
/// <message>" when it cannot be started; `outcome` is a file of memory for the ContainerOutcome. Ends with the script's
/// code or signal, and removes what is left of the container.
[[noreturn]] void run_container_client(const ContainerLaunch& launch, int errors, int outcome);

/// What run_container_client has left in `outcome`; false when it was killed before.
bool read_outcome(int fd, ContainerOutcome& outcome);

}  // namespace trainctl::host
