// SPDX-License-Identifier: Apache-2.0
// Inside the job: the batch process is the run's supervisor.
#pragma once

#include <filesystem>

#include "host/supervise.hpp"

namespace trainctl::host::slurm {

/// `supervise --foreground RUN`, on node 0: claims the next attempt and supervises until the run has ended, or goes on
/// in another job. Returns what the job shall end with: the script's exit code, 1 for another failure, 0 when there was
/// nothing to do here. A run on several nodes gets a supervisor on each, through srun: `supervise --foreground --node K
/// RUN`.
int supervise_job(const std::filesystem::path& run_dir, const SuperviseOptions& options);

}  // namespace trainctl::host::slurm
