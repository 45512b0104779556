// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/verdict.hpp"

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <string>
#include <string_view>

#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/supervisor/journal.hpp"
#include "host/waiter/rank_record.hpp"

namespace trainctl::host {
namespace {

using format::Cause;
using format::State;

constexpr int kInfrastructureBudget = 3;

State state_of_stop(Cause cause) {
  switch (cause) {
    case Cause::canceled:
      return State::canceled;
    case Cause::time_limit:
    case Cause::queue_timeout:
    case Cause::start_timeout:
    case Cause::idle_timeout:
      return State::timed_out;
    default:
      return State::failed;
  }
}

std::string name_of_rank(const Outcome& outcome, int index) {
  return outcome.alone ? "the program " : "rank " + std::to_string(outcome.first_rank + index) + " ";
}

AttemptEnd judge_stop(const Outcome& outcome) {
  AttemptEnd end{.state = state_of_stop(*outcome.stopped_for), .cause = *outcome.stopped_for};
  end.message = outcome.stop_message;
  for (std::size_t r = 0; r < outcome.ranks.size() && !end.exit_code; ++r) {
    if (!outcome.ranks[r]) continue;
    end.exit_code = outcome.ranks[r]->code;
    if (outcome.ranks[r]->signal != 0) end.signal = signal_name(outcome.ranks[r]->signal);
    end.rank = outcome.first_rank + static_cast<int>(r);
  }
  return end;
}

AttemptEnd judge_exit(const Outcome& outcome, int index) {
  const RankExit& exit = *outcome.ranks.at(static_cast<std::size_t>(index));
  AttemptEnd end{.state = State::failed, .cause = Cause::exit, .exit_code = exit.code};
  end.rank = outcome.first_rank + index;
  const std::string who = name_of_rank(outcome, index);
  if (exit.cause == "start") {
    end.cause = Cause::start;
    end.message = exit.message;
  } else if (exit.signal != 0) {
    end.signal = signal_name(exit.signal);
    end.cause = outcome.oom_killed ? Cause::oom_kernel : Cause::signal;
    end.message = who + "was killed by " + end.signal;
    if (outcome.oom_killed) end.message = who + "was killed by the kernel: the machine or its memory group was full";
  } else {
    end.message = who + "exited with code " + std::to_string(exit.code);
  }
  if (outcome.memory_limit_hit && exit.cause != "start") {
    end.cause = Cause::memory_limit;
    end.message = who + "was stopped by its memory limit";
  }
  if (outcome.disk_full && (exit.cause != "start" || exit.retryable)) {
    if (end.cause == Cause::exit) end.cause = Cause::disk_full;
    end.message += "; the disk is full";
  }
  if (outcome.port_taken > 0 && end.cause == Cause::exit) {
    end.cause = Cause::start;
    end.message = "port " + std::to_string(outcome.port_taken) +
                  ", chosen for the processes to meet at, was taken by " + "another program before " +
                  (outcome.alone ? "it " : who) + "listened there";
  }
  return end;
}

}  // namespace

AttemptEnd judge(const Outcome& outcome) {
  if (outcome.not_started) return *outcome.not_started;
  if (outcome.stopped_for && !outcome.deciding) return judge_stop(outcome);
  if (outcome.deciding) return judge_exit(outcome, *outcome.deciding);
  if (outcome.lost_rank) {
    AttemptEnd end{.state = State::lost, .cause = Cause::lost, .rank = outcome.lost_rank};
    end.message = outcome.lost_why;
    return end;
  }
  AttemptEnd end{.state = State::succeeded, .cause = Cause::exit, .exit_code = 0};
  return end;
}

bool is_infrastructure(Cause cause) {
  return cause == Cause::preempted || cause == Cause::node || cause == Cause::start;
}

bool is_spent(const RetryCount& before) {
  return before.infrastructure > kInfrastructureBudget;
}

bool should_retry(const AttemptEnd& end, bool start_may_be_retried, const format::PlanRetry& retry,
                  const RetryCount& before) {
  if (end.state == State::succeeded || end.state == State::canceled) return false;
  if (is_infrastructure(end.cause) && (end.cause != Cause::start || start_may_be_retried) &&
      before.infrastructure < kInfrastructureBudget) {
    return true;
  }
  if (before.asked >= retry.max) return false;
  return std::any_of(retry.on.begin(), retry.on.end(), [&](const std::string& rule) {
    if (rule == to_string(end.cause) || rule == to_string(end.state)) return true;
    if (rule.starts_with("exit:")) return end.exit_code && rule == "exit:" + std::to_string(*end.exit_code);
    if (!rule.starts_with("signal:") || end.signal.empty()) return false;
    return signal_number(std::string_view(rule).substr(7)) == signal_number(end.signal);
  });
}

}  // namespace trainctl::host
