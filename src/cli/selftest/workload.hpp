// SPDX-License-Identifier: Apache-2.0
// What the runs of `trainctl selftest` do: print lines that follow from a seed, so that every byte of their log is
// known beforehand, and write down each start.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/json.hpp"

namespace trainctl::cli::selftest {

struct Workload {
  std::uint32_t seed = 1;
  int lines = 400;
  int lines_a_pause = 20;  ///< a pause of a tenth of a second after so many lines
  int exit_code = 0;
  /// After so many lines it kills the process that supervises it, as a memory killer would; -1: never.
  int kills_supervisor_at = -1;
};

/// The log of a run that was let to its end.
std::string expected_log(const Workload& workload);

/// The run configuration (docs/run-configuration.md); only a POSIX shell and its everyday tools are needed where it
/// runs.
Json run_configuration(const Workload& workload);

/// The file among the outputs with a line "started" for each start of the script.
inline constexpr const char* kStartsFile = "starts";

}  // namespace trainctl::cli::selftest
