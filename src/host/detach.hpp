// SPDX-License-Identifier: Apache-2.0
// Processes that go on when everything that started them is gone.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "trainctl/result.hpp"

namespace trainctl::host {

/// What a detached process gets: where it reports to its maker (to be closed early), and the umask it had.
struct Detached {
  int report_fd = -1;
  mode_t user_mask = 022;
};

/// Runs `body` in a process of its own session: descriptors closed, umask 077, stdin /dev/null, cwd /, default signals.
/// Its result is the exit code. Returns what the body has written to report_fd until it closed that. It forks without
/// exec: the calling process must be single-threaded here. `name` is what ps shows.
Result<std::string> detach(const char* name, const std::function<int(const Detached&)>& body);

}  // namespace trainctl::host
