// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace trainctl::host {

/// This process becomes the program, looked up on PATH. Returns only when that fails, which is told on stderr: 127 not
/// found, 126 not executable.
int become_program(std::vector<std::string> argv);

/// Starts the program and waits for it; its exit code, 128 + n when signal n ended it. Ctrl-C is the program's. When
/// a cut connection took stdin and stdout away, it gets SIGHUP as on a terminal.
int run_program(const std::vector<std::string>& argv);

}  // namespace trainctl::host
