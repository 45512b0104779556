// SPDX-License-Identifier: Apache-2.0
// Requests to the supervisor of a run, and the care that there is one.
#pragma once

#include <string>

#include "archive/store.hpp"
#include "base/file.hpp"
#include "format/fold.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

enum class Start {
  adopt_only,  ///< a run that never began is left alone; after 60 s it is ended ("was never started")
  allowed,     ///< the command that created the run, or one that names it: may begin it
};

/// Makes sure that a run that has not ended has a supervisor (design: "Adoption"): any client command may do so. A run
/// that ended, or is supervised, or lies on another machine or where nothing can be written is left alone.
Result<> ensure_supervised(const format::RunPaths& run, Start start);

/// Keeps supervisors away from a run that has ended or never began, so that it may be removed. Errc::invalid with the
/// run's name while it goes on.
Result<base::FileLock> lock_ended(const format::RunPaths& run);

/// Writes a control request, durable; returns its id. The supervisor acknowledges it in its events.
Result<std::string> request_cancel(const format::RunPaths& run, const std::string& reason);
Result<std::string> request_signal(const format::RunPaths& run, const std::string& signal);

}  // namespace trainctl::engine
