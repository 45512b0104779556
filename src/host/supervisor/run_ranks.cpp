// SPDX-License-Identifier: Apache-2.0
// The ranks of an attempt while they run, and what their ends come to.
#include <signal.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "format/state.hpp"
#include "host/distribution/group.hpp"
#include "host/distribution/layout.hpp"
#include "host/gang/lead.hpp"
#include "host/gang/messages.hpp"
#include "host/linux/kernel_log.hpp"
#include "host/resources/memory_limit.hpp"
#include "host/supervisor/journal.hpp"
#include "host/supervisor/rank_set.hpp"
#include "host/supervisor/reactor.hpp"
#include "host/supervisor/run_supervision.hpp"
#include "host/supervisor/verdict.hpp"
#include "host/waiter/rank_record.hpp"

namespace trainctl::host {
namespace {

using format::Cause;
using format::State;

constexpr std::uint64_t kDiskFullBelow = 64U << 10U;
constexpr std::uint64_t kGroupInterval = 500 * kMillisecond;

/// Whether memory was the end of it: in a container the runner inside has seen it, else the kernel tells.
void judge_memory(const RankExit& exit, pid_t pid, const std::optional<MemoryLimit>& limit, Outcome& result) {
  result.memory_limit_hit = exit.cause == to_string(Cause::memory_limit) || (limit && limit->oom_kills() > 0);
  result.oom_killed =
      exit.cause == to_string(Cause::oom_kernel) || (exit.signal == SIGKILL && kernel_killed_for_memory(pid));
}

}  // namespace

/// Not once it is being stopped: states do not go back.
void RunSupervision::note_running() {
  if (!ranks_ || stop_cause_ || journal_->running_since() || !ranks_->any_running()) return;
  journal_->enter(State::running);
  logs_->begin();
}

void RunSupervision::follow_ranks(std::uint64_t now) {
  ranks_->poll(now);
  note_running();
  suspect_enclosure(now);
  follow_group(now);
  for (const Rank& rank : ranks_->ranks()) {
    const bool failed = (rank.record.exit && rank.record.exit->code != 0) || rank.lost;
    if (failed && !stopper_->stopping() && !ranks_settled()) stop_others(rank.number, now);
  }
  if (lead_) follow_remote_ranks(now);
  if (!ranks_settled()) return;
  phase_ = Phase::draining;
  drain(now);
}

bool RunSupervision::ranks_settled() const {
  // Where the start was never given, the other nodes have no ranks to wait for.
  return ranks_->settled() && (!lead_ || !journal_->rendezvous() || lead_->settled());
}

/// What is to be known of the ranks together: they have all started; one below mpiexec failed; or the training is over,
/// and servers, which would run for ever, are stopped: that is success.
void RunSupervision::follow_group(std::uint64_t now) {
  const auto& ranks = ranks_->ranks();
  if (ports_ && std::all_of(ranks.begin(), ranks.end(), [](const Rank& rank) { return rank.running; }))
    ports_->release();
  if (stopper_->stopping() || ranks_settled()) {
    next_group_look_ = kNever;
    return;
  }
  if (uses_mpi(plan_)) {
    if (next_group_look_ != kNever && now < next_group_look_) return;
    next_group_look_ = now + kGroupInterval;
    if (const auto failed = failed_mpi_rank(plan_, run_.attempt(attempt_))) stop_others(*failed, now);
    return;
  }
  if (node_ || !training_is_over(plan_, all_exits())) return;
  const std::string why = "the training is over, its servers are stopped";
  journal_->enter(State::stopping, why);
  end_ranks(server_stop(plan_), std::nullopt, why, now);
}

void RunSupervision::drain(std::uint64_t now) {
  if (!ranks_->waiters_gone() || (!ranks_->trees_clean() && !stopper_->tree_empty(ranks_->ranks()))) {
    stopper_->begin_leftovers(now);
    return;
  }
  ranks_->fence();
  if (!ranks_->settled()) {
    phase_ = Phase::active;  // a late waiter of our predecessor was quicker than the fence
    return;
  }
  const bool stopped = stopper_->stopping() || stop_cause_.has_value();
  if (plan_.container && !containers_.done(run_, attempt_, ranks_->ranks(), stopped)) return;
  if (lead_ && journal_->rendezvous() && !lead_->drained()) return;
  metrics_.finish(plan_, run_.attempt(attempt_), now);
  if (!metrics_.busy()) conclude(verdict());
}

/// Of all ranks as far as this node knows them, by their numbers.
RankExits RunSupervision::all_exits() const {
  RankExits exits(static_cast<std::size_t>(std::max(world_size(plan_), 1)));
  const auto note = [&](int rank, const std::optional<RankExit>& exit) {
    if (rank >= 0 && static_cast<std::size_t>(rank) < exits.size()) exits[static_cast<std::size_t>(rank)] = exit;
  };
  for (const Rank& rank : ranks_->ranks()) note(rank.number, rank.record.exit);
  if (!lead_) return exits;
  for (const GangLead::Node& node : lead_->nodes()) {
    for (const RemoteRank& rank : node.report.ranks) note(rank.rank, rank.exit);
  }
  return exits;
}

/// Those of this node; on node 0 those of all.
std::vector<JudgedRank> RunSupervision::known_ranks(Outcome& result) const {
  std::vector<JudgedRank> known;
  for (const Rank& rank : ranks_->ranks()) {
    known.push_back({rank.record.exit, rank.record.process.pid});
    if (!rank.lost || result.lost_rank) continue;
    result.lost_rank = rank.number;
    result.lost_why = *rank.lost;
  }
  if (lead_) add_remote_ranks(known, result);
  return judged_ranks(plan_, run_.attempt(attempt_), std::move(known), all_exits());
}

/// What this machine knows about the end of a rank of its own.
void RunSupervision::explain_own_rank(const JudgedRank& rank, Outcome& result) const {
  if (ports_) result.port_taken = port_taken(plan_, run_.attempt(attempt_), *ports_);
  judge_memory(*rank.exit, rank.pid, memory_limit_, result);
  result.disk_full = base::free_bytes(run_.root) < kDiskFullBelow;
}

Outcome RunSupervision::outcome() const {
  Outcome result;
  bool stop_counts = false;
  std::uint64_t first = kNever;
  const std::vector<JudgedRank> ranks = known_ranks(result);
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    const auto& exit = ranks[r].exit;
    result.ranks.push_back(exit);
    if (!exit || exit->mono_ns >= stop_since_) {
      stop_counts = true;
      continue;
    }
    if (exit->code == 0 || exit->mono_ns >= first) continue;
    first = exit->mono_ns;
    result.deciding = static_cast<int>(r);
  }
  result.first_rank = first_rank(plan_, run_.own_node);
  result.alone = ranks.size() <= 1 && !membership_;
  if (stop_cause_ && stop_counts) result.stopped_for = stop_cause_;
  result.stop_message = stop_message_;
  if (!result.deciding) return result;
  const auto deciding = static_cast<std::size_t>(*result.deciding);
  if (!lead_ || deciding < ranks_->ranks().size() || uses_mpi(plan_)) explain_own_rank(ranks[deciding], result);
  return result;
}

AttemptEnd RunSupervision::verdict() const {
  AttemptEnd end = judge(outcome());
  if (lead_) doubt_success(end);
  if (lead_) name_node(end);
  return end;
}

}  // namespace trainctl::host
