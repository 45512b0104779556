// SPDX-License-Identifier: Apache-2.0
// What a scripted target plays (docs/targets.md): a JSON file of steps, each at its time.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "format/state.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {

enum class StepKind {
  state,       ///< the run is in this state from now on
  log,         ///< bytes of the log
  metric,      ///< a value
  disconnect,  ///< whoever watches now loses the connection
  truncate,    ///< the script empties its own log
  lose,        ///< best_effort: so many of the log steps that follow are never told
  end,         ///< the last step
};

struct Step {
  StepKind kind = StepKind::log;
  std::chrono::milliseconds at{0};  ///< since the launch
  format::State state = format::State::running;
  std::string text = {};  ///< log: the bytes; metric: its name; state, end: the message
  double value = 0;
  std::optional<std::int64_t> number = {};  ///< metric: the step; end: the exit code; lose: how many
  std::optional<format::Cause> cause = {};
};

struct Scenario {
  LogFidelity fidelity = LogFidelity::byte_exact;
  std::vector<Step> steps;  ///< in order of time; the last one is an `end`
};

/// Every mistake of the text with its position.
ResultAll<Scenario> parse_scenario(std::string_view text, const std::string& file_name);
/// The same from a document without positions (what a launch kept).
Result<Scenario> scenario_from_json(const Json& document);

}  // namespace trainctl::target
