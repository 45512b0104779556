// SPDX-License-Identifier: Apache-2.0
// From a forked child to the script: exec with errors that say what is wrong.
#pragma once

#include <string>
#include <vector>

namespace trainctl::host {

/// Why a program could not be executed; `code` as shells have it: 127 not found, 126 found but not executable.
struct ExecError {
  int code = 127;
  std::string message;
};

/// Replaces this process by argv[0], looked up in `search_path` unless it has a slash. Returns only on failure.
ExecError exec_program(const std::vector<std::string>& argv, const std::vector<std::string>& environment,
                       const std::string& search_path);

}  // namespace trainctl::host
