// SPDX-License-Identifier: Apache-2.0
// The state of a run is a pure fold over its files (design: "One idea", "States").
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "trainctl/result.hpp"

namespace trainctl::format {

/// What a fold reads: the lines of a run's files, already parsed.
struct RunLines {
  int attempt = 0;                         ///< the highest existing attempt; 0 = none
  std::vector<Json> events;                ///< of that attempt's lead
  std::vector<Json> earlier_events;        ///< of the earlier attempts, in order (for acknowledgements and the start)
  std::vector<std::vector<Json>> clients;  ///< one list a client file
  std::map<std::string, Json> requests;    ///< control/<ulid>.json by ULID
};

struct RunState {
  State state = State::created;
  std::optional<Cause> cause;
  std::optional<int> exit_code;
  std::string signal;   ///< "SIGKILL" when a signal ended the deciding rank
  std::string message;  ///< one sentence of the lead, from `end` or the last state
  int attempt = 0;
  std::string started;  ///< UTC of the first `running`; empty = never
  std::string ended;    ///< UTC of the final `end`
  /// From `started` to `ended`. By the monotonic clock when both lines are of one boot: the wall clock may have been
  /// set meanwhile. Never negative; empty until the run has started and ended.
  std::optional<std::chrono::microseconds> took;
  bool acknowledged_stop = false;
  std::vector<std::string> open_requests;  ///< control requests without an acknowledgement
  Json end = nullptr;                      ///< the final `end` event, whole
  Json lead = nullptr;                     ///< the `attempt` event of the last attempt: who supervises it
  Json last_state = nullptr;               ///< the lead's last `state` event, whole (queue reason, ...)
  std::vector<std::string> warnings;
};

RunState fold(const RunLines& lines);
/// Reads the files of one run and folds them. A run without any file beyond plan.json folds to `created`.
Result<RunState> fold_run(const RunPaths& run);
Result<RunLines> read_run_lines(const RunPaths& run);

/// The highest existing AttemptPaths::log_copy of that rank; 1 when there is no more than the log itself.
int last_log_copy(const AttemptPaths& attempt, int rank);

/// The highest attempts/<n> that this node takes part in; 0 when there is none.
int last_attempt(const RunPaths& run);

}  // namespace trainctl::format
