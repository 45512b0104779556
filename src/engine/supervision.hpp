// SPDX-License-Identifier: Apache-2.0
// The care that a run goes on where its target has it, and requests to it.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/file.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "target/cancel.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

enum class Start {
  adopt_only,  ///< a run that never began is left alone; after 60 s it is ended ("was never started")
  allowed,     ///< the command that created the run, or one that names it: may begin it
};

/// The target of a run, as its plan says it.
Result<std::unique_ptr<target::Target>> target_of(const format::RunPaths& run, const format::Plan& plan);

/// What the target calls this run: the handle of its launch is read from the client's files.
Result<target::RunRef> reference(const format::RunPaths& run);

/// Both.
struct OpenedRun {
  std::unique_ptr<target::Target> target;
  target::RunRef ref;
};
Result<OpenedRun> open_run(const format::RunPaths& run);

struct LaunchWish {
  target::TransferProgress progress = {};  ///< told while files are sent there
  bool followed = false;                   ///< this process watches the run next
};

/// Launches the run (idempotent) and stores the handle at once. Errc::canceled when `cancel` was requested meanwhile:
/// whether it began is not known then.
Result<> launch(const format::RunPaths& run, target::Target& target, const target::Cancel& cancel,
                const LaunchWish& wish = {});

/// Makes sure that a run that has not ended is supervised (design: "Adoption"): any client command may do so. A run
/// that ended, or is supervised, or lies on another machine or where nothing can be written is left alone. Runs on
/// other targets are looked after by who watches them (Mirroring): nobody waits for a network here.
Result<> ensure_supervised(const format::RunPaths& run, Start start);

/// Keeps supervisors away from a run that has ended or never began, so that it may be removed, and removes what its
/// target still has of it. Errc::invalid with the run's name while it goes on.
Result<base::FileLock> lock_ended(const format::RunPaths& run);

/// Ends of runs that a person wants. Each is a control request, durable in the run's folder and then handed to the
/// target, which gets ten seconds; one that did not answer is asked no more. The lead acknowledges it in its events.
/// Errc::unavailable (retryable): it was not told, repeat_wishes() does that as soon as the target answers.
class CancelRequests {
 public:
  Result<> request(const format::RunPaths& run, const std::string& reason);

 private:
  std::map<std::string, Error> silent_ = {};  ///< by the target's definition
};
/// Of a single run.
Result<> request_cancel(const format::RunPaths& run, const std::string& reason);
/// Hands every cancel that the lead has not acknowledged to the target again: it may have been out of reach. A wish
/// that is there already is no other wish.
Result<> repeat_wishes(const format::RunPaths& run, target::Target& target, const target::Cancel& cancel);
/// The target gets ten seconds; what could not be told then (Errc::unavailable) is not told later. Errc::invalid where
/// the target cannot signal its runs.
Result<> request_signal(const format::RunPaths& run, const std::string& signal);

}  // namespace trainctl::engine
