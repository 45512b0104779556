// SPDX-License-Identifier: Apache-2.0
// One program of a build: its output goes to the build log as it comes, and the end of it is kept for the error.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::host {

struct Step {
  std::vector<std::string> argv;                                    // argv[0] absolute
  std::vector<std::pair<std::string, std::string>> variables = {};  // added to ours
  std::vector<std::string> unset = {};                              // taken away
  std::optional<std::filesystem::path> directory = {};
  int log_fd = -1;
  int cancel_fd = -1;
  int inherit_fd =
      -1;  // stays open in the program: the build lock outlives a killed builder while its tools still write
  bool capture_output = false;  // stdout is returned, not logged
  std::chrono::milliseconds deadline = std::chrono::hours(6);
};

struct StepResult {
  int exit_code = 0;  // 128 + n for a signal
  std::string out;    // stdout when captured
  std::string tail;   // the last 64 KiB of what went to the log
};

/// Runs to the end in its own process group. Errc::canceled when cancel_fd becomes readable, Errc::timeout at the
/// deadline (the group is killed in both cases), Errc::not_found when the program is missing. The program dies with us.
Result<StepResult> run_step(const Step& step);

/// Our environment with `unset` removed and `variables` set, as "K=V".
std::vector<std::string> step_environment(const Step& step);

}  // namespace trainctl::host
