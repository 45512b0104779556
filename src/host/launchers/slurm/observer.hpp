// SPDX-License-Identifier: Apache-2.0
// What the controller says of one run, from the submit host: why it waits, and its end when the job can write none
// itself. An end only on evidence: the controller's verdict, or a job that it has forgotten for long. That the
// controller does not answer is no evidence.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "format/fold.hpp"
#include "format/plan.hpp"
#include "host/launchers/slurm/ending.hpp"
#include "host/launchers/slurm/options.hpp"
#include "host/launchers/slurm/queue.hpp"
#include "host/launchers/slurm/record.hpp"
#include "host/supervisor/journal.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {

/// What squeue said, and when it was asked (base::mono_ns()).
struct Snapshot {
  std::vector<Job> jobs;
  std::uint64_t asked = 0;
};

class RunObserver {
 public:
  static Result<RunObserver> open(format::RunPaths run);

  /// Looks at the run once. Returns what is to be told of it: {"state", "message", "attempt", "job"?, "reason"?}; empty
  /// when its own files tell all, or when it has ended. May write its end, and may submit it where a submission died.
  std::optional<Json> look(const Snapshot& snapshot);

  [[nodiscard]] const format::RunPaths& run() const { return run_; }
  [[nodiscard]] bool ended() const { return ended_; }
  /// Its job waits, starts, is about to be made, or seems to be over: worth looking often.
  [[nodiscard]] bool is_waiting() const { return waiting_; }
  /// The job is over, and its supervisor has some seconds to say so itself: the next looks tell.
  [[nodiscard]] bool is_deciding() const { return deciding_; }
  /// The supervisor in the job has begun, and has not ended.
  [[nodiscard]] bool has_lead() const { return has_lead_; }
  [[nodiscard]] const format::Plan& plan() const { return plan_; }

 private:
  RunObserver(format::RunPaths run, format::Plan plan, Options options)
      : run_(std::move(run)), plan_(std::move(plan)), options_(std::move(options)) {}
  std::optional<Json> without_job(const format::RunState& state, const Record& record);
  std::optional<Json> on_queue(const Job& job, const format::RunState& state, const Record& record);
  void on_over(const Job& job, const format::RunState& state);
  void on_gone(const std::string& job, const Record& record, const format::RunState& state);
  void mourn(const Job& job, const format::RunState& state);
  [[nodiscard]] bool has_waited_too_long(const format::RunState& state, const Record& record) const;
  void on_queue_timeout();
  std::string job_that_counts(const format::RunState& state, const Record& record);
  void note(const char* type);
  /// `job_goes_on`: the next attempt is the same job's; when there is none, the job is canceled.
  void conclude(AttemptEnd end, const Abandoned& abandoned, bool job_goes_on = false);
  void submit_another();
  [[nodiscard]] AttemptEnd ending(const Job& job, const format::RunState& state) const;
  [[nodiscard]] Json told(format::State state, const std::string& message, int attempt) const;

  format::RunPaths run_;
  format::Plan plan_;
  Options options_;
  std::string job_ = {};  ///< the one that counts, and since when
  std::uint64_t job_since_ = 0;
  std::uint64_t over_since_ = 0;  ///< its end, or its return to the queue, was seen first; 0 = not yet
  std::uint64_t submitted_again_ = 0;
  bool ended_ = false;
  bool waiting_ = true;
  bool deciding_ = false;
  bool has_lead_ = false;
};

}  // namespace trainctl::host::slurm
