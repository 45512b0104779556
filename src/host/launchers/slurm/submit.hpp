// SPDX-License-Identifier: Apache-2.0
// From a run folder on the submit host to a job: the environment, the batch script, sbatch. Never twice: the intent is
// durable before sbatch is called, and after a lost answer the job is looked for by its comment.
#pragma once

#include <sys/types.h>

#include <string>

#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {

/// Starts a detached process that goes on until the run has a job or an end. Returns when that process holds the run,
/// or finds that another one does. A run that has a job already is left alone.
Result<> start_submission(const format::RunPaths& run);

/// The same in this process. `user_mask`: umask of the job.
Result<> submit(const format::RunPaths& run, mode_t user_mask);

/// From inside a job whose run is to be tried again: Slurm puts it back into the queue; where that is not allowed,
/// another job is submitted. Neither: the submit host does it when somebody looks.
void put_back(const format::RunPaths& run, const std::string& job);

}  // namespace trainctl::host::slurm
