// SPDX-License-Identifier: Apache-2.0
// How runs start on this host, as their plans say: by a supervisor of this machine (the launcher "process"), or as jobs
// of a batch system ("slurm").
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

namespace slurm {
class Poller;
}

/// Starts the run whose plan lies in its folder: returns as soon as something is at work that outlives this process.
/// The same run again changes nothing.
Result<> launch_run(const format::RunPaths& run);

/// Takes a launched run up again where nothing looks after it any more. A supervisor is never started on the submit
/// host of a batch system; a submission is.
Result<> adopt_run(const format::RunPaths& run);

/// A batch system has been asked to start the run: it may wait there without an attempt and without a supervisor.
bool was_handed_over(const format::RunPaths& run);

/// Tells the launcher that a control request of that type was written: a job that waits has no supervisor to read it.
Result<> request_written(const format::RunPaths& run, std::string_view type);

/// What a batch system says of runs, beside what their own files say. One squeue serves all observers that share a
/// `poller`.
class LaunchObserver {
 public:
  virtual ~LaunchObserver() = default;
  /// Notes that have come since: {"run", "observed": {"state", "message", "attempt", "job", "reason"}}. Observing may
  /// also write the end of a run whose job is gone.
  virtual std::vector<Json> look() = 0;
  /// Readable when look() would find something; -1 = none at the moment.
  [[nodiscard]] virtual int fd() const = 0;
  /// Call look() after so long at the latest; -1 = never.
  [[nodiscard]] virtual int wait_ms() const = 0;
  /// At least one answer was taken in, or none is to be had, and no end is some seconds from being told: what can be
  /// known now is known.
  [[nodiscard]] virtual bool settled() const = 0;
};

/// Null when no batch system has to do with any of the runs.
std::unique_ptr<LaunchObserver> observe_launches(const format::StorePaths& store, const std::vector<std::string>& runs,
                                                 const std::shared_ptr<slurm::Poller>& poller);

}  // namespace trainctl::host
