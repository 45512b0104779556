// SPDX-License-Identifier: Apache-2.0
#include "format/state.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string_view>

namespace trainctl::format {
namespace {

constexpr std::array<std::string_view, 12> kStateNames = {"created",  "queued",   "preparing",  "running",
                                                          "retrying", "stopping", "collecting", "succeeded",
                                                          "failed",   "canceled", "timed_out",  "lost"};
constexpr std::array<std::string_view, 15> kCauseNames = {
    "exit",         "signal",       "time_limit",  "queue_timeout", "start_timeout",
    "idle_timeout", "memory_limit", "oom_kernel",  "disk_full",     "canceled",
    "preempted",    "node",         "environment", "start",         "lost"};

constexpr unsigned bit(State state) {
  return 1U << static_cast<unsigned>(state);
}

constexpr unsigned any_of(std::initializer_list<State> states) {
  unsigned bits = 0;
  for (const State state : states) bits |= bit(state);
  return bits;
}

constexpr unsigned kNotEnded = any_of({State::created, State::queued, State::preparing, State::running, State::retrying,
                                       State::stopping, State::collecting});

/// From which states `to` may be entered.
constexpr unsigned sources_of(State to) {
  switch (to) {
    case State::created:
      return 0;
    case State::queued:
      return any_of({State::created, State::preparing, State::retrying});
    case State::preparing:
      return any_of({State::created, State::queued, State::retrying});
    case State::running:
      return any_of({State::created, State::queued, State::preparing, State::retrying});
    case State::retrying:
      return kNotEnded & ~any_of({State::created, State::retrying});
    case State::stopping:
      return kNotEnded & ~bit(State::stopping);
    case State::collecting:
      return any_of({State::running, State::stopping});
    default:
      return kNotEnded;
  }
}

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
  return (sources_of(to) & bit(from)) != 0;
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
