// SPDX-License-Identifier: Apache-2.0
// States and causes of a run (design: "States", "Cause"). The transition table is held by a golden test.
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace trainctl::format {

enum class State {
  created,    // what an intent alone folds to
  queued,     // waits for admission
  preparing,  // environment, snapshot, inputs
  running,
  retrying,  // the attempt ended, the next one has not begun
  stopping,
  collecting,  // outputs are listed and hashed
  succeeded,
  failed,
  canceled,
  timed_out,
  lost,
};
inline constexpr std::array kAllStates = {State::created,  State::queued,   State::preparing,  State::running,
                                          State::retrying, State::stopping, State::collecting, State::succeeded,
                                          State::failed,   State::canceled, State::timed_out,  State::lost};

enum class Cause {
  exit,
  signal,
  time_limit,
  queue_timeout,
  start_timeout,
  idle_timeout,
  memory_limit,
  oom_kernel,
  disk_full,
  canceled,
  preempted,
  node,
  environment,
  start,
  lost,
};

std::string_view to_string(State state);
std::string_view to_string(Cause cause);
std::optional<State> parse_state(std::string_view text);
std::optional<Cause> parse_cause(std::string_view text);

[[nodiscard]] bool is_terminal(State state);
/// May the lead write `to` after `from`? Terminal states admit nothing.
[[nodiscard]] bool transition_allowed(State from, State to);

/// The process exit code for a run that ended so (design: "Exit codes"): succeeded 0, failed 1, environment|start 3,
/// timed_out 124, canceled 130, lost 1.
[[nodiscard]] int exit_code_of(State state, std::optional<Cause> cause);

}  // namespace trainctl::format
