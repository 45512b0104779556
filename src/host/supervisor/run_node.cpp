// SPDX-License-Identifier: Apache-2.0
// The supervision of a run on several machines, on every node but 0: it does for its ranks what node 0 says, and tells
// how they are. When node 0 is silent for too long it ends them and goes.
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "host/distribution/layout.hpp"
#include "host/gang/address.hpp"
#include "host/gang/messages.hpp"
#include "host/supervisor/rank_set.hpp"
#include "host/supervisor/reactor.hpp"
#include "host/supervisor/run_supervision.hpp"
#include "host/waiter/rank_record.hpp"
#include "trainctl/error.hpp"

namespace trainctl::host {
namespace {

using format::Cause;
using format::State;

constexpr std::uint64_t kLeaveWithin = 5'000 * kMillisecond;

}  // namespace

/// False: node 0 could not be reached, and whoever waits for it was told so.
bool RunSupervision::prove_lead(std::uint64_t now) {
  if (node_->heard()) report_opened(nullptr);
  if (node_->heard() || !options_.opened || now < patience_until_) return true;
  const Error problem{
      .code = Errc::unavailable,
      .message = "node " + std::to_string(run_.own_node) + " cannot reach node 0: " + node_->problem(),
      .hint =
          "the machines of a run talk to each other over TCP: open the ports from 20000 to 29999 between them, or "
          "name in the target where they reach each other: \"addresses\": [\"10.1.0.1\", \"10.1.0.2\"]"};
  report_opened(&problem);
  phase_ = Phase::done;
  return false;
}

void RunSupervision::obey(std::uint64_t now) {
  node_->report(report());
  node_->tick(now);
  if (!prove_lead(now)) return;
  if (node_->forsaken(now)) return be_forsaken(now);
  const GangOrder& order = node_->order();
  if (phase_ == Phase::leaving) {
    const bool let_go = order.step == GangStep::leave || !node_->connected();
    if (let_go || now >= patience_until_) phase_ = Phase::done;
  }
  if (!node_->heard() || phase_ >= Phase::leaving) return;
  if (phase_ != Phase::backoff) {
    if (order.attempt > attempt_) return end_for_nobody("the run has gone on without this node", now);
    if (order.attempt == attempt_) obey_in_attempt(now);
    return;
  }
  between_attempts(order);
}

void RunSupervision::between_attempts(const GangOrder& order) {
  const bool begins = order.step == GangStep::prepare || order.step == GangStep::launch;
  if (order.attempt > attempt_ && begins) return begin_attempt(order.attempt, false);
  if (order.step == GangStep::leave) phase_ = Phase::done;
}

/// True: what was to be stopped is being stopped now.
bool RunSupervision::obey_stop(std::uint64_t now) {
  const GangOrder& order = node_->order();
  const bool works = phase_ >= Phase::queued && phase_ <= Phase::active;
  if (!works || stopper_->stopping() || stop_cause_) return false;
  if (order.stop && order.stop->cause) {
    stop_for(*order.stop->cause, order.stop->message, now);
  } else if (order.stop) {
    journal_->enter(State::stopping, order.stop->message);
    stopper_->begin(order.stop->signal, order.stop->grace, now);
    if (phase_ != Phase::preparing) phase_ = Phase::active;
  } else if (order.step >= GangStep::conclude) {
    stop_for(Cause::canceled, "the attempt has ended elsewhere", now);
  } else {
    return false;
  }
  return true;
}

void RunSupervision::launch_as_told() {
  prepared_->rendezvous = node_->order().rendezvous;
  const auto& addresses = prepared_->rendezvous.addresses;
  const auto own = static_cast<std::size_t>(run_.own_node);
  if (own < addresses.size()) prepared_->interface = interface_of(addresses[own]);
  if (prepared_->interface.empty()) prepared_->interface = interface_of(node_->own_address());
  launch(*prepared_);
}

void RunSupervision::obey_in_attempt(std::uint64_t now) {
  if (obey_stop(now)) return;
  const GangOrder& order = node_->order();
  if (phase_ == Phase::gathering && order.step == GangStep::launch) return launch_as_told();
  if (order.warn && phase_ == Phase::active && !std::exchange(warned_, true)) send_warning();
  obey_signals();
  if (phase_ != Phase::closing || order.step < GangStep::conclude) return;
  ending_->retry = order.retry;
  collect(std::move(*ending_));
}

/// A supervisor that takes over does not know which of the signals its predecessor has sent: none is sent twice.
void RunSupervision::obey_signals() {
  const bool old = std::exchange(signals_are_old_, false);
  for (const GangSignal& signal : node_->order().signals) {
    const bool fresh = signals_obeyed_.insert(signal.request).second;
    if (fresh && !old && phase_ == Phase::active) signal_ranks(signal.number);
  }
}

/// What runs here trains for nobody. Where it has ended already, nobody asks for its end any more.
void RunSupervision::end_for_nobody(const std::string& why, std::uint64_t now) {
  const bool works = phase_ >= Phase::queued && phase_ <= Phase::active;
  if (works) return stop_for(Cause::node, why, now);
  if (phase_ != Phase::closing) return;
  ending_->retry = true;  // whether there is another attempt is for node 0 to say
  collect(std::move(*ending_));
}

/// Node 0 is gone or cannot be reached.
void RunSupervision::be_forsaken(std::uint64_t now) {
  if (phase_ == Phase::backoff || phase_ == Phase::leaving) phase_ = Phase::done;
  end_for_nobody("node 0 was not heard for " + base::format_duration(node_->silence()), now);
}

/// What the supervisor before had to tell of the attempt that it ended: node 0 may not have heard it. How ranks ended
/// that were ended because node 0 was silent says nothing about the training.
void RunSupervision::recall_report(const Json& end) {
  const auto text = [&end](const char* key) {
    const auto found = end.find(key);
    return found != end.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  last_report_ = {.attempt = attempt_, .step = NodeStep::ended};
  const Json logs = end.value("logs", Json::object());
  for (const auto& [name, size] : logs.items()) {
    if (size.is_number_unsigned()) last_report_.logs[name] = size.get<std::uint64_t>();
  }
  if (text("cause") == to_string(Cause::node)) {
    last_report_.problem = {.cause = Cause::node, .message = text("message")};
    return;
  }
  const int first = first_rank(plan_, run_.own_node);
  for (int rank = first; rank < first + waiter_count(plan_, run_.own_node); ++rank) {
    const auto record = read_rank(run_.attempt(attempt_).own_rank(rank));
    if (record) last_report_.ranks.push_back({.rank = rank, .begun = record->exists, .exit = record->exit});
  }
}

void RunSupervision::await_next(bool retry) {
  const std::uint64_t now = base::mono_ns();
  backoff_until_ = kNever;
  patience_until_ = retry ? kNever : now + kLeaveWithin;
  phase_ = retry ? Phase::backoff : Phase::leaving;
  if (node_->forsaken(now)) phase_ = Phase::done;
}

NodeStep RunSupervision::own_step() const {
  switch (phase_) {
    case Phase::queued:
      return NodeStep::queued;
    case Phase::preparing:
      return NodeStep::preparing;
    case Phase::gathering:
      return NodeStep::ready;
    case Phase::active:
    case Phase::draining:
      return NodeStep::active;
    case Phase::collecting:
    case Phase::closing:
      return NodeStep::drained;
    default:
      return attempt_ > 0 ? NodeStep::ended : NodeStep::idle;
  }
}

NodeReport RunSupervision::report() const {
  NodeReport made{.attempt = attempt_, .step = own_step()};
  if (phase_ == Phase::backoff || phase_ >= Phase::leaving) {
    if (last_report_.attempt == attempt_) made = last_report_;
    const GangOrder& order = node_->order();
    const bool missed = order.attempt > attempt_ && order.step >= GangStep::conclude;
    return missed ? NodeReport{.attempt = order.attempt, .step = NodeStep::ended} : made;
  }
  if (phase_ == Phase::queued) made.message = queue_reason_;
  if (ports_) made.ports = ports_->ports();
  for (const Rank& rank : ranks_->ranks()) {
    made.ranks.push_back({.rank = rank.number,
                          .begun = rank.record.exists || rank.waiter != 0,
                          .exit = rank.record.exit,
                          .lost = rank.lost});
  }
  made.growth_ns = logs_->last_growth();
  made.memory_peak = memory_peak();
  made.problem = problem_;
  if (ending_ && ending_->rank) {
    made.verdict = {.cause = ending_->cause, .rank = ending_->rank, .message = ending_->message};
  }
  return made;
}

}  // namespace trainctl::host
