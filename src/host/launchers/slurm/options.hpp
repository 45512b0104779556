// SPDX-License-Identifier: Apache-2.0
// "slurm" of a target's definition, as the plan keeps it, and which runs go to Slurm at all.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "format/plan.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {

struct Options {
  /// Long options of sbatch and their values, in the order of the table: {"partition", "gpu"}.
  std::vector<std::pair<std::string, std::string>> flags = {};
  bool exclusive = false;
  bool requeue = true;                                             ///< Slurm may put the job back into the queue
  std::optional<std::chrono::milliseconds> time = {};              ///< of a run without limits.timeout
  std::optional<std::uint64_t> memory = {};                        ///< bytes per node of a run that does not say
  std::optional<int> cpus = {};                                    ///< per node of a run that does not say
  std::vector<std::string> more = {};                              ///< words for sbatch as they are
  bool build_in_job = false;                                       ///< environments; else on the submit host
  std::chrono::milliseconds evidence = std::chrono::seconds(120);  ///< gone so long without an end: it is lost
};

/// Is the run a job of Slurm, here or behind a login node?
bool is_slurm(const format::Plan& plan);
bool is_slurm(const Json& target);

/// Unknown members are ignored (the client checked what a person wrote). Errc::invalid for a value that cannot be, and
/// for words that would take from us what we rely on ("--output", "--array", …).
Result<Options> read_options(const Json& target);

}  // namespace trainctl::host::slurm
