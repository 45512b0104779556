// SPDX-License-Identifier: Apache-2.0
// `supervise RUN`: one operation that starts a run, adopts it, or finds it ended.
#pragma once

#include <sys/types.h>

#include <filesystem>

#include "trainctl/result.hpp"

namespace trainctl::host {

struct SuperviseOptions {
  int report_fd = -1;           ///< a pipe on which the caller waits for "supervised", "already" or an error
  bool start_unstarted = true;  ///< false: a run that nobody ever started is ended instead of started
  mode_t user_mask = 022;       ///< umask of the ranks; the supervisor itself has 077
  int node = -1;                ///< of a run on several machines; -1: what the folder says (host/gang/membership.hpp)
  bool prove_lead = false;      ///< on a node: report an error when node 0 cannot be reached within seconds
};

/// Supervises until the final end. Returns the exit code of `supervise`: 0 also when another process supervises the
/// run already or when it has ended; 6 when the run folder is unusable.
int supervise_main(const std::filesystem::path& run_dir, const SuperviseOptions& options = {});

enum class SpawnOutcome {
  supervised,  ///< a supervisor of ours holds the lock
  already,     ///< another one does
};

/// Starts a detached supervisor (own session, descriptors closed, umask 077, stdin /dev/null, cwd /) and returns as
/// soon as it holds supervisor.lock; the ranks start meanwhile. It forks without exec: the calling process must be
/// single-threaded here. When the supervisor dies before it reports, that is an error.
Result<SpawnOutcome> spawn_supervisor(const std::filesystem::path& run_dir, SuperviseOptions options = {});

}  // namespace trainctl::host
