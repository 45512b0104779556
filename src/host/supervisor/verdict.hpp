// SPDX-License-Identifier: Apache-2.0
// Pure: from what happened to the end that is written, and whether there is another try.
#pragma once

#include <optional>
#include <vector>

#include "format/plan.hpp"
#include "host/supervisor/journal.hpp"
#include "host/waiter/rank_record.hpp"

namespace trainctl::host {

/// What is known when nothing of an attempt runs any more.
struct Outcome {
  std::vector<std::optional<RankExit>> ranks;  ///< empty optional: never started, or gone without an exit line
  int first_rank = 0;                          ///< the number of the first; the others follow
  bool alone = false;                          ///< the run has no more than one rank
  std::optional<int> lost_rank;                ///< a rank that is gone without a trace
  std::string lost_why = {};
  std::optional<int> deciding;               ///< whose failure came first, as an index of `ranks`
  std::optional<format::Cause> stopped_for;  ///< the first stop reason, when it began before any exit decided
  std::string stop_message = {};
  std::optional<AttemptEnd> not_started = {};  ///< preparation failed: the end is this one
  bool memory_limit_hit = false;               ///< its memory group killed processes
  bool oom_killed = false;
  bool disk_full = false;
  int port_taken = 0;  ///< a port we chose, that another program had taken before a rank could listen there
};

/// state, cause, exit code and message; `retry` is left false.
AttemptEnd judge(const Outcome& outcome);

/// How often earlier attempts were retried, by budget.
struct RetryCount {
  int asked = 0;           ///< by retry.on
  int infrastructure = 0;  ///< preempted, node, start
};

/// Is there another attempt after `end`? Infrastructure has a budget of three of its own.
bool should_retry(const AttemptEnd& end, bool start_may_be_retried, const format::PlanRetry& retry,
                  const RetryCount& before);
bool is_infrastructure(format::Cause cause);
/// The infrastructure has failed more often than it may: a batch system starts a run again without asking us.
bool is_spent(const RetryCount& before);

}  // namespace trainctl::host
