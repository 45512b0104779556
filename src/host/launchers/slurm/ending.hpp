// SPDX-License-Identifier: Apache-2.0
// Ends that the submit host writes: of a run that never got a job, and of one whose job is surely gone without an end
// of its own. Only for who holds the run (record.hpp).
#pragma once

#include <cstdint>
#include <string>

#include "format/paths.hpp"
#include "host/supervisor/journal.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {

/// An attempt whose job is over, or has left it.
struct Abandoned {
  int attempt = 0;
  std::string job = {};
};

/// Which machine it was is known of a job that has only one.
std::string lost_node(const std::string& batch_host, int nodes);

/// Writes the end, durable: into `abandoned` when that is the last attempt and without an end, into one that no job has
/// begun, else into one of its own. Acknowledges the cancel requests there are. False when another job, or another
/// start of it, has the attempt: then it is its own to end.
Result<bool> end_from_here(const format::RunPaths& run, const AttemptEnd& end, const Abandoned& abandoned = {});

/// From a job that Slurm has started again: gives the attempt of its last start the end that it could not write.
Result<> close_cut_off(const format::RunPaths& run, int attempt);

/// When the attempt ended, by the wall clock of who wrote it, in milliseconds; 0 = it has no end.
std::uint64_t ended_ms(const format::AttemptPaths& attempt);

/// The host this process is on, for people.
std::string submit_host();

}  // namespace trainctl::host::slurm
