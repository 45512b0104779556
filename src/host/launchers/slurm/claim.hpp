// SPDX-License-Identifier: Apache-2.0
// Whose an attempt is. Jobs run on other machines, where a lock of a network file system cannot be trusted: an attempt
// belongs to who could link its owner.json, which is there whole or not at all.
#pragma once

#include <string>

#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {

/// One start of one job, or the submit host itself.
struct Owner {
  std::string job = {};  ///< empty: the submit host, which ends a run that has no job
  int restart = 0;       ///< SLURM_RESTART_COUNT: how often Slurm has put the job back
  std::string machine = {};
  std::string boot = {};
};

/// This process as an owner: from SLURM_JOB_ID and SLURM_RESTART_COUNT, or with an empty job.
Owner this_job();
Owner this_host();

/// False when it is somebody's already.
Result<bool> claim(const format::AttemptPaths& attempt, const Owner& owner);

/// Errc::not_found when nobody has claimed it.
Result<Owner> owner_of(const format::AttemptPaths& attempt);

/// The attempt has an end that wants another one; a cancel request that is on its way does not hide it.
bool wants_another(const format::AttemptPaths& attempt);

/// What a job that begins has to do.
struct Entry {
  int attempt = 0;       ///< the one to begin; 0 = none
  std::string why = {};  ///< … because of this
};
/// The next attempt; none when the run has ended, when the last attempt is this very start's (a batch process that was
/// started twice), or when it goes on in another job.
Result<Entry> next_attempt(const format::RunPaths& run, const Owner& me);

}  // namespace trainctl::host::slurm
