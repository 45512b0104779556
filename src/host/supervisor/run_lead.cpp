// SPDX-License-Identifier: Apache-2.0
// The supervision of a run on several machines, on node 0: it gathers the nodes, starts all ranks together, and ends
// the attempt for all. docs/decisions/0014-gang-channel.md.
#include <sys/inotify.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/text.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/distribution/group.hpp"
#include "host/distribution/layout.hpp"
#include "host/distribution/ports.hpp"
#include "host/distribution/rank_variables.hpp"
#include "host/gang/address.hpp"
#include "host/gang/lead.hpp"
#include "host/gang/membership.hpp"
#include "host/gang/messages.hpp"
#include "host/gang/node.hpp"
#include "host/supervisor/journal.hpp"
#include "host/supervisor/launch.hpp"
#include "host/supervisor/reactor.hpp"
#include "host/supervisor/run_supervision.hpp"
#include "host/supervisor/verdict.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

using format::Cause;
using format::State;

constexpr std::uint64_t kMissingPatience = 1000 * kMillisecond;  // a node's supervisor may be just starting
constexpr std::uint64_t kProveWithin = 15'000 * kMillisecond;  // a node that cannot reach node 0 is an error of prepare

std::uint64_t nanoseconds(std::chrono::milliseconds time) {
  return static_cast<std::uint64_t>(time.count()) * kMillisecond;
}

std::string name_of(const GangLead::Node& node) {
  return "node " + std::to_string(node.number) + (node.address.empty() ? "" : " (" + node.address + ")");
}

/// Has the node said how each of its ranks ended?
bool told_all(const format::Plan& plan, const GangLead::Node& node) {
  const std::vector<RankPlace> places = layout(plan);
  return std::all_of(places.begin(), places.end(), [&node](const RankPlace& place) {
    const auto& ranks = node.report.ranks;
    return place.node != node.number || std::any_of(ranks.begin(), ranks.end(), [&place](const RemoteRank& rank) {
             return rank.rank == place.rank && rank.exit;
           });
  });
}

Rendezvous meeting_of(const GangLead& lead, const std::optional<PortReservation>& own) {
  Rendezvous met{.addresses = {lead.own_address()}, .master_port = 0, .ports = {}};
  if (own && !own->ports().empty()) met.master_port = own->ports().front();
  if (own) met.ports = own->ports();
  for (const GangLead::Node& node : lead.nodes()) {
    met.addresses.push_back(node.address);
    met.ports.insert(met.ports.end(), node.report.ports.begin(), node.report.ports.end());
  }
  return met;
}

}  // namespace

Result<> RunSupervision::join_gang() {
  TRY_ASSIGN(membership_, read_membership(run_));
  if (!membership_) {
    if (plan_.resources.nodes <= 1 && run_.own_node == 0) return {};
    return fail(Errc::cannot_start, "the run wants " + std::to_string(plan_.resources.nodes) +
                                        " machines, and nobody has prepared them for it");
  }
  if (uses_mpi(plan_) && !membership_->shared && membership_->needs_go) {
    return fail(Errc::cannot_start, "mpi on several machines needs their scheduler to start its processes",
                "use a Slurm target, or the distribution pytorch, tensorflow or processes");
  }
  if (run_.own_node > 0) {
    node_ = std::make_unique<GangNode>(reactor_, run_, *membership_);
    return {};
  }
  TRY_ASSIGN(lead_, GangLead::open(reactor_, run_, *membership_));
  return {};
}

/// Before the first attempt: node 0 waits for `go`, the others for the word of node 0.
void RunSupervision::await_word() {
  phase_ = Phase::backoff;
  const std::uint64_t now = base::mono_ns();
  backoff_until_ = kNever;
  patience_until_ = now + nanoseconds(membership_->silence);
  if (node_) patience_until_ = now + std::min(kProveWithin, nanoseconds(membership_->silence));
  if (lead_ || !options_.prove_lead) report_opened(nullptr);
  if (node_) return;
  if (!membership_->needs_go) backoff_until_ = now;
  reactor_.watch_path(run_.gang(), IN_CREATE | IN_MOVED_TO | IN_ONLYDIR, [](std::uint32_t, const std::string&) {});
}

void RunSupervision::lead_gang(std::uint64_t now) {
  lead_->tick(now);
  if (phase_ == Phase::backoff && attempt_ == 0 && backoff_until_ == kNever) {
    if (start_permitted(run_)) {
      backoff_until_ = now;
    } else if (now >= patience_until_) {
      phase_ = Phase::done;  // whoever prepared it is gone: nothing was begun
    }
    return;
  }
  if (phase_ == Phase::preparing || phase_ == Phase::gathering) {
    if (stop_for_problem(now)) return;
    lead_->prepare_next(phase_ == Phase::gathering);
  }
  if (phase_ == Phase::gathering) {
    if (lead_->ready()) return launch_gang();
    return say_who_is_missing(now);
  }
  if (phase_ == Phase::closing && lead_->ended()) finish(std::move(*ending_));
}

/// This machine is ready. Node 0 waits for the others, another node for the word to start.
void RunSupervision::gather(Prepared prepared) {
  auto ports = reserve_ports(plan_, run_.own_node);
  if (!ports) {
    return finish_unstarted({.state = State::failed, .cause = Cause::start, .message = ports.error().message});
  }
  ports_ = std::move(*ports);
  prepared_ = std::move(prepared);
  patience_until_ = base::mono_ns() + kMissingPatience;
  queue_key_.clear();
  phase_ = Phase::gathering;
}

void RunSupervision::launch_gang() {
  const Rendezvous met = journal_->rendezvous().value_or(meeting_of(*lead_, ports_));
  journal_->note_rendezvous(met);
  lead_->launch(met);
  prepared_->rendezvous = met;
  prepared_->interface = interface_of(met.addresses.front());
  launch(*prepared_);
}

bool RunSupervision::waits_for_nodes() const {
  if (phase_ != Phase::gathering || !lead_) return false;
  return std::any_of(lead_->nodes().begin(), lead_->nodes().end(), [](const GangLead::Node& node) {
    return !node.connected || node.report.step <= NodeStep::queued;
  });
}

void RunSupervision::say_who_is_missing(std::uint64_t now) {
  if (now < patience_until_) return;
  std::string reason;
  for (const GangLead::Node& node : lead_->nodes()) {
    if (!node.connected) {
      reason = "waits for a client to reach " + name_of(node);
    } else if (node.report.step == NodeStep::queued) {
      reason = name_of(node) + ": " + node.report.message;
    }
    if (!reason.empty()) break;
  }
  if (reason == queue_key_) return;
  queue_key_ = reason;
  reason.empty() ? journal_->enter(State::preparing, "the other nodes prepare") : journal_->queued(reason);
}

/// Some node cannot go on, or was told to stop there.
bool RunSupervision::stop_for_problem(std::uint64_t now) {
  for (const GangLead::Node& node : lead_->nodes()) {
    if (stop_cause_) break;
    if (const auto& problem = node.report.problem)
      stop_for(problem->cause, name_of(node) + ": " + problem->message, now);
  }
  return stop_cause_.has_value();
}

void RunSupervision::follow_remote_ranks(std::uint64_t now) {
  if (stop_for_problem(now)) return;
  for (const GangLead::Node& node : lead_->nodes()) {
    if (node.lost) {
      return stop_for(Cause::node, name_of(node) + " was not heard for " + base::format_duration(lead_->silence()),
                      now);
    }
    for (const RemoteRank& rank : node.report.ranks) {
      const bool failed = (rank.exit && rank.exit->code != 0) || rank.lost;
      if (failed && !stopper_->stopping() && !ranks_settled()) stop_others(rank.rank, now);
    }
  }
}

void RunSupervision::add_remote_ranks(std::vector<JudgedRank>& known, Outcome& result) const {
  if (uses_mpi(plan_)) return;
  known.resize(static_cast<std::size_t>(world_size(plan_)));
  for (const GangLead::Node& node : lead_->nodes()) {
    for (const RemoteRank& rank : node.report.ranks) {
      if (rank.rank < 0 || static_cast<std::size_t>(rank.rank) >= known.size()) continue;
      known[static_cast<std::size_t>(rank.rank)].exit = rank.exit;
      if (!rank.lost || result.lost_rank) continue;
      result.lost_rank = rank.rank;
      result.lost_why = name_of(node) + ": " + *rank.lost;
    }
  }
}

/// A machine that came back without a word about a rank of its own has ended it: nobody may call that a success.
void RunSupervision::doubt_success(AttemptEnd& end) const {
  if (end.state != State::succeeded || uses_mpi(plan_)) return;
  for (const GangLead::Node& node : lead_->nodes()) {
    if (told_all(plan_, node)) continue;
    end = {.state = State::failed, .cause = Cause::node, .node = node.number};
    end.message = name_of(node) + " has ended without a word about its ranks";
    return;
  }
}

/// Says which node the deciding rank ran on, and why it ended as that node knows it. A rank that fails because a whole
/// machine went silent is not the cause.
void RunSupervision::name_node(AttemptEnd& end) const {
  for (const GangLead::Node& node : lead_->nodes()) {
    if (!node.lost || end.state == State::succeeded || end.cause == Cause::canceled) continue;
    if (end.cause != Cause::node) {
      end.message = name_of(node) + " was not heard for " + base::format_duration(lead_->silence()) +
                    (end.message.empty() ? "" : "; " + end.message);
    }
    end.cause = Cause::node;
    end.state = State::failed;
    end.node = node.number;
    return;
  }
  if (!end.rank) return;
  const std::vector<RankPlace> places = layout(plan_);
  const int number = places.at(static_cast<std::size_t>(*end.rank)).node;
  end.node = number;
  if (number == 0 || (end.cause != Cause::exit && end.cause != Cause::signal) || end.state == State::succeeded) return;
  const GangLead::Node& node = lead_->nodes().at(static_cast<std::size_t>(number - 1));
  const auto& verdict = node.report.verdict;
  if (verdict && verdict->rank == end.rank) {
    end.cause = verdict->cause;
    end.message = verdict->message;
  }
  end.message += " on " + name_of(node);
}

void RunSupervision::stop_gang(const StopPlan& how, std::optional<Cause> cause, const std::string& message) {
  if (lead_) lead_->stop({.signal = how.signal, .grace = how.grace, .cause = cause, .message = message});
}

/// True when the end of this attempt is not for this node to write: it waits for the word of node 0, which knows all.
bool RunSupervision::end_gang(AttemptEnd& end) {
  if (node_) {
    ending_ = std::move(end);
    phase_ = Phase::closing;
    return true;
  }
  (void)journal_->note_verdict(end);
  lead_->conclude(end.retry);
  return false;
}

std::uint64_t RunSupervision::last_growth() const {
  std::uint64_t last = logs_->last_growth();
  if (!lead_) return last;
  for (const GangLead::Node& node : lead_->nodes()) last = std::max(last, node.growth_at);
  return last;
}

std::uint64_t RunSupervision::gang_deadline() const {
  std::uint64_t next = lead_ ? lead_->next_deadline() : node_->next_deadline();
  const bool waits = phase_ == Phase::backoff || phase_ == Phase::gathering || phase_ == Phase::leaving;
  if (waits && patience_until_ > base::mono_ns()) next = std::min(next, patience_until_);
  return next;
}

}  // namespace trainctl::host
