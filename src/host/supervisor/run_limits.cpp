// SPDX-License-Identifier: Apache-2.0
// Limits and requests of a supervised run: everything that may stop it.
#include <signal.h>
#include <sys/inotify.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/text.hpp"
#include "format/state.hpp"
#include "host/distribution/group.hpp"
#include "host/distribution/layout.hpp"
#include "host/linux/process_tree.hpp"
#include "host/supervisor/inbox.hpp"
#include "host/supervisor/rank_set.hpp"
#include "host/supervisor/reactor.hpp"
#include "host/supervisor/run_supervision.hpp"

namespace trainctl::host {
namespace {

using format::Cause;
using format::State;
using Milliseconds = std::chrono::milliseconds;

constexpr std::uint64_t kInboxInterval = 1000 * kMillisecond;           // where inotify is not to be had
constexpr std::uint64_t kWatchedInboxInterval = 30'000 * kMillisecond;  // and where it is, to be sure
constexpr std::uint64_t kMemoryInterval = 2000 * kMillisecond;

std::uint64_t after(std::uint64_t since, const std::optional<Milliseconds>& time) {
  if (!time || since == kNever) return kNever;
  return since + static_cast<std::uint64_t>(std::max<std::int64_t>(time->count(), 0)) * kMillisecond;
}

std::string told(const std::optional<Milliseconds>& limit) {
  return base::format_duration(*limit);
}

}  // namespace

void RunSupervision::watch_control() {
  if (control_watched_) return;
  const auto changed = [this](std::uint32_t, const std::string&) { inbox_dirty_ = true; };
  if (reactor_.watch_path(run_.control(), IN_CREATE | IN_MOVED_TO | IN_ONLYDIR, changed) >= 0) {
    control_watched_ = true;
    return;
  }
  // The folder comes with the first request.
  reactor_.watch_path(run_.root, IN_CREATE | IN_ONLYDIR, [this](std::uint32_t, const std::string& name) {
    if (name != "control") return;
    inbox_dirty_ = true;
    watch_control();
  });
}

void RunSupervision::read_requests(std::uint64_t now) {
  const bool others = is_guest();  // they are node 0's requests
  if (!journal_ || others || (!inbox_dirty_ && now < next_inbox_)) return;
  inbox_dirty_ = false;
  // A job's clients are on other machines: what they write wakes nobody here.
  next_inbox_ = now + (control_watched_ && !options_.enclosure ? kWatchedInboxInterval : kInboxInterval);
  for (const ControlRequest& request : inbox_.take_new()) handle(request, now);
}

void RunSupervision::handle(const ControlRequest& request, std::uint64_t now) {
  if (request.type == "cancel" && phase_ >= Phase::collecting) {
    collection_.hurry();  // the exit was there before, so it decides; what is left is only not hashed
    return journal_->acknowledge(request.id, "too late: the program has ended");
  }
  if (request.type == "cancel") {
    stop_for(Cause::canceled, request.reason.empty() ? "canceled" : request.reason, now);
    return journal_->acknowledge(request.id, "accepted");
  }
  if (request.type != "signal") return journal_->acknowledge(request.id, "refused: unknown request");
  const auto number = signal_number(request.signal);
  if (!number) return journal_->acknowledge(request.id, "refused: no such signal");
  if (phase_ != Phase::active || ranks_settled()) return journal_->acknowledge(request.id, "refused: nothing runs");
  if (lead_) lead_->signal({.request = request.id, .number = *number});
  signal_ranks(*number);
  journal_->acknowledge(request.id, "accepted");
}

void RunSupervision::signal_ranks(int number) const {
  for (const Rank& rank : ranks_->ranks()) stopper_->send(rank, number);
}

void RunSupervision::stop_for(Cause cause, const std::string& message, std::uint64_t now,
                              std::optional<Milliseconds> patience) {
  if (stop_cause_) return;
  // What its waiters have said by now comes first: a run that ran has a start.
  if (ranks_) ranks_->hear();
  note_running();
  stop_cause_ = cause;
  stop_message_ = message;
  stop_since_ = now;
  if (node_) problem_ = {.cause = cause, .message = message};
  journal_->enter(State::stopping, message, {{"cause", to_string(cause)}});
  StopPlan how = usual_stop(plan_);
  how.grace = std::min(how.grace, patience.value_or(how.grace));
  end_ranks(how, cause, message, now);
  // Nothing runs: following the ranks writes the end.
  if (phase_ == Phase::queued || phase_ == Phase::gathering) phase_ = Phase::active;
  if (!preparation_.busy()) return;
  preparation_.signal(SIGTERM);
  kill_preparation_at_ = after(now, how.grace);
}

/// A rank failed: the others wait for it in vain. Its failure is the cause, not this stop.
void RunSupervision::stop_others(int rank, std::uint64_t now) {
  const std::string message = "rank " + std::to_string(rank) + " failed, the others are stopped";
  journal_->enter(State::stopping, message);
  end_ranks(usual_stop(plan_), std::nullopt, message, now);
}

/// Here and on the other machines of the run.
void RunSupervision::end_ranks(const StopPlan& how, std::optional<Cause> cause, const std::string& message,
                               std::uint64_t now) {
  stopper_->begin(how.signal, how.grace, now);
  stop_gang(how, cause, message);
}

/// How long it may wait and prepare.
void RunSupervision::check_start(std::uint64_t now) {
  const bool waits = phase_ == Phase::queued || waits_for_nodes();
  if (waits && now >= after(attempt_since_, plan_.limits.queue_timeout)) {
    stop_for(Cause::queue_timeout, "waited longer than " + told(plan_.limits.queue_timeout) + " for its turn", now);
  }
  if (!waits && now >= after(preparing_since_, plan_.limits.start_timeout)) {
    stop_for(Cause::start_timeout, "had not started within " + told(plan_.limits.start_timeout), now);
  }
}

void RunSupervision::check_limits(std::uint64_t now) {
  if (now >= kill_preparation_at_) {
    preparation_.signal(SIGKILL);
    kill_preparation_at_ = now + 100 * kMillisecond;
    if (!preparation_.busy()) kill_preparation_at_ = kNever;
  }
  if (stop_cause_ || stopper_->stopping() || (phase_ == Phase::active && ranks_->settled())) return;
  check_enclosure(now);
  const auto running = journal_->running_since();
  if (node_) {  // time is node 0's to measure, memory is this machine's
    if (running) check_memory(now);
    return;
  }
  if (!running) return check_start(now);
  if (now >= after(*running, plan_.limits.timeout)) {
    return stop_for(Cause::time_limit, "ran longer than its limit of " + told(plan_.limits.timeout), now);
  }
  if (now >= after(std::max(*running, last_growth()), plan_.limits.idle) && !logs_->look(now)) {
    return stop_for(Cause::idle_timeout, "wrote nothing for " + told(plan_.limits.idle), now);
  }
  warn_before_limit(now);
  check_memory(now);
}

/// When the limit is so near that the script has to know.
std::uint64_t RunSupervision::warning_time() const {
  const auto running = journal_->running_since();
  if (warned_ || !plan_.stop.warn || !running) return kNever;
  const std::uint64_t limit = std::min(after(*running, plan_.limits.timeout), enclosure_deadline());
  if (limit == kNever) return kNever;
  const auto before = static_cast<std::uint64_t>(std::max<std::int64_t>(plan_.stop.warn->count(), 0)) * kMillisecond;
  return std::max(*running, limit - std::min(limit, before));
}

void RunSupervision::warn_before_limit(std::uint64_t now) {
  if (now < warning_time()) return;
  warned_ = true;
  if (lead_) lead_->warn();
  send_warning();
}

void RunSupervision::send_warning() {
  const auto number = signal_number(plan_.stop.warn_signal);
  if (!number) return;
  int told = 0;
  const pid_t launcher = uses_mpi(plan_) && !node_ ? ranks_->ranks().front().record.process.pid : 0;
  for (const pid_t pid : stopper_->finder().members(ranks_->ranks())) {
    if (plan_.container && !stopper_->finder().is_marked(pid)) continue;  // the engine's own
    if (pid == launcher) continue;     // it would pass the signal on to those that do not handle it
    if (is_fresh_copy(pid)) continue;  // its parent is told
    // To a process without a handler the signal would be the end.
    if (handles_signal(pid, *number) && ::kill(pid, *number) == 0) ++told;
  }
  if (told == 0) {
    return journal_->warn("the time limit is near: " + plan_.stop.warn_signal +
                          " was not sent, because no process handles it");
  }
  journal_->warn("the time limit is near: " + plan_.stop.warn_signal + " was sent to " + std::to_string(told) +
                 (told == 1 ? " process that handles it" : " processes that handle it"));
}

void RunSupervision::check_memory(std::uint64_t now) {
  if (!plan_.resources.memory || memory_limit_ || now < next_memory_) return;
  next_memory_ = now + kMemoryInterval;
  if (!memory_watch_) memory_watch_.emplace(*plan_.resources.memory);
  if (!memory_watch_->over(stopper_->finder().members(ranks_->ranks()))) return;
  stop_for(Cause::memory_limit,
           "used " + base::format_size(memory_watch_->last()) + " of memory, its limit is " +
               base::format_size(memory_watch_->limit()),
           now);
}

std::uint64_t RunSupervision::start_deadline() const {
  const bool waits = phase_ == Phase::queued || waits_for_nodes();
  return waits ? after(attempt_since_, plan_.limits.queue_timeout)
               : after(preparing_since_, plan_.limits.start_timeout);
}

std::uint64_t RunSupervision::limit_deadline() const {
  if (stop_cause_ || stopper_->stopping()) return kill_preparation_at_;
  const auto running = journal_->running_since();
  if (node_) return plan_.resources.memory && !memory_limit_ && running ? next_memory_ : kNever;
  if (!running) return start_deadline();
  std::uint64_t next = after(*running, plan_.limits.timeout);
  next = std::min(next, after(std::max(*running, last_growth()), plan_.limits.idle));
  next = std::min({next, warning_time(), enclosure_deadline()});
  if (plan_.resources.memory && !memory_limit_) next = std::min(next, next_memory_);
  return next;
}

}  // namespace trainctl::host
