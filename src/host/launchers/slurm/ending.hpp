// SPDX-License-Identifier: Apache-2.0
// Ends that the submit host writes: of a run that never got a job, and of one whose job is surely gone without an end
// of its own. Only for who holds the run (record.hpp).
#pragma once

#include <string>

#include "format/paths.hpp"
#include "host/supervisor/journal.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {

/// Writes the end, durable: into the last attempt when that is without one, else into one of its own. Acknowledges the
/// cancel requests there are. False when a job has begun the attempt meanwhile: then it is its own to end.
Result<bool> end_from_here(const format::RunPaths& run, const AttemptEnd& end);

/// From a job that Slurm has started again: gives the attempt of its last start the end that it could not write.
Result<> close_cut_off(const format::RunPaths& run, int attempt);

/// The host this process is on, for people.
std::string submit_host();

}  // namespace trainctl::host::slurm
