// SPDX-License-Identifier: Apache-2.0
// The care that a run of this machine has a supervisor, and requests to it.
#pragma once

#include <string>

#include "base/file.hpp"
#include "base/json.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

enum class Start {
  adopt_only,  ///< a run that never began is left alone; after 60 s it is ended ("was never started")
  allowed,     ///< the command that created the run, or one that names it: may begin it
};

/// Does the process of the last `attempt` event live on this machine? A supervisor that has not written one yet is not
/// seen.
bool lead_is_alive(const format::RunState& state);

/// Makes sure that a run that has not ended has a supervisor (design: "Adoption"): any client command may do so. A run
/// that ended, or is supervised, or lies on another machine is left alone.
Result<> ensure_supervised(const format::RunPaths& run, Start start);

/// Keeps supervisors away from a run that has ended or never began, so that it may be removed. Errc::invalid with the
/// run's name while it goes on.
Result<base::FileLock> lock_ended(const format::RunPaths& run);

/// Errc::not_found when the run has ended, Errc::unavailable when it waits and has no process: nobody would get a
/// signal.
Result<> check_hears_signals(const format::RunPaths& run);

/// Writes a control request, durable; returns its id. The supervisor acknowledges it in its events. `body` has a "type"
/// ("cancel", "signal") and what belongs to it. `id` is a ULID; empty = a new one.
Result<std::string> write_request(const format::RunPaths& run, Json body, std::string id = {});

}  // namespace trainctl::host
