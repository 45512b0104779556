// SPDX-License-Identifier: Apache-2.0
#include "format/state.hpp"

#include <algorithm>
#include <cstddef>

namespace trainctl::format {
namespace {

constexpr std::array<std::string_view, 12> kStateNames = {"created",  "queued",   "preparing",  "running",
                                                          "retrying", "stopping", "collecting", "succeeded",
                                                          "failed",   "canceled", "timed_out",  "lost"};
constexpr std::array<std::string_view, 15> kCauseNames = {
    "exit",         "signal",       "time_limit",  "queue_timeout", "start_timeout",
    "idle_timeout", "memory_limit", "oom_kernel",  "disk_full",     "canceled",
    "preempted",    "node",         "environment", "start",         "lost"};

}  // namespace

std::string_view to_string(State state) {
  return kStateNames.at(static_cast<std::size_t>(state));
}
std::string_view to_string(Cause cause) {
  return kCauseNames.at(static_cast<std::size_t>(cause));
}

std::optional<State> parse_state(std::string_view text) {
  const auto* found = std::find(kStateNames.begin(), kStateNames.end(), text);
  if (found == kStateNames.end()) return std::nullopt;
  return static_cast<State>(found - kStateNames.begin());
}

std::optional<Cause> parse_cause(std::string_view text) {
  const auto* found = std::find(kCauseNames.begin(), kCauseNames.end(), text);
  if (found == kCauseNames.end()) return std::nullopt;
  return static_cast<Cause>(found - kCauseNames.begin());
}

bool is_terminal(State state) {
  return state >= State::succeeded;
}

bool transition_allowed(State from, State to) {
  if (is_terminal(from)) return false;
  if (is_terminal(to)) return true;
  switch (to) {
    case State::created:
      return false;
    case State::queued:
      return from == State::created || from == State::preparing || from == State::retrying;
    case State::preparing:
      return from == State::created || from == State::queued || from == State::retrying;
    case State::running:
      return from == State::created || from == State::queued || from == State::preparing || from == State::retrying;
    case State::retrying:
      return from != State::created && from != State::retrying;
    case State::stopping:
      return from != State::stopping;
    case State::collecting:
      return from == State::running || from == State::stopping;
    default:
      return false;
  }
}

int exit_code_of(State state, std::optional<Cause> cause) {
  switch (state) {
    case State::succeeded:
      return 0;
    case State::timed_out:
      return 124;
    case State::canceled:
      return 130;
    case State::failed:
      return cause == Cause::environment || cause == Cause::start ? 3 : 1;
    default:
      return 1;
  }
}

}  // namespace trainctl::format
