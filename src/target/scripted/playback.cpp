// SPDX-License-Identifier: Apache-2.0
#include "target/scripted/playback.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "format/metric.hpp"
#include "format/state.hpp"
#include "target/scripted/scenario.hpp"
#include "trainctl/version.hpp"

namespace trainctl::target {
namespace {

constexpr auto kEvents = "attempts/1/events.jsonl";
constexpr auto kRank = "attempts/1/nodes/0/rank-0.jsonl";
constexpr auto kLog = "attempts/1/logs/std.log";
constexpr auto kMetrics = "attempts/1/metrics/script-r0.jsonl";

base::WallTime wall(std::int64_t ms) {
  return base::WallTime(std::chrono::milliseconds(ms));
}

/// The steps before the stop, then the end that it brings.
Scenario cut(Scenario scenario, std::int64_t launched_ms, const Stop& stop) {
  const auto at = std::chrono::milliseconds(std::max<std::int64_t>(0, stop.at_ms - launched_ms));
  std::erase_if(scenario.steps, [at](const Step& step) { return step.at > at; });
  if (!scenario.steps.empty() && scenario.steps.back().kind == StepKind::end) return scenario;
  scenario.steps.push_back({.kind = StepKind::state, .at = at, .state = format::State::stopping, .text = stop.reason});
  scenario.steps.push_back({.kind = StepKind::end,
                            .at = at,
                            .state = format::State::canceled,
                            .text = stop.reason,
                            .cause = format::Cause::canceled});
  return scenario;
}

}  // namespace

Playback::Playback(Scenario scenario, std::int64_t launched_ms, std::optional<Stop> stop)
    : scenario_(stop ? cut(std::move(scenario), launched_ms, *stop) : std::move(scenario)),
      launched_ms_(launched_ms),
      request_(stop ? stop->request : std::string()) {}

std::optional<std::int64_t> Playback::next_ms() const {
  if (ended()) return std::nullopt;
  return launched_ms_ + scenario_.steps[next_].at.count();
}

bool Playback::play(std::int64_t now_ms) {
  const bool first = !std::exchange(began_, true);
  if (first) {
    now_ms_ = launched_ms_;
    event(kEvents, "attempt", {{"number", 1}, {"runner", version()}, {"pid", 0}, {"machine", "scripted"}});
  }
  bool disconnected = false;
  while (!ended() && *next_ms() <= now_ms && !disconnected) {
    const Step& step = scenario_.steps[next_++];
    now_ms_ = launched_ms_ + step.at.count();
    disconnected = step.kind == StepKind::disconnect && !first;
    play_step(step);
  }
  return disconnected;
}

void Playback::event(const std::string& file, std::string_view type, const Json& fields) {
  Json line = {{"v", 1},
               {"seq", ++seq_[file]},
               {"t", base::format_utc(wall(now_ms_))},
               {"mono_ns", now_ms_ * 1'000'000},
               {"boot", "scripted"},
               {"node", 0},
               {"type", type}};
  line.update(fields);
  files_[file] += base::dump_json(line) + "\n";
}

void Playback::state(std::string_view name, const std::string& message) {
  if (name == "running") {
    event(kRank, "start", {{"machine", "scripted"}, {"pid", 0}});
    (void)files_[kLog];
  }
  if (name == "stopping" && !request_.empty())
    event(kEvents, "control", {{"request", request_}, {"result", "stopping"}});
  event(kEvents, "state", {{"state", name}, {"message", message}});
  observation_ = {{"state", name}, {"message", message}};
}

void Playback::end(const Step& step) {
  const auto state = format::to_string(step.state);
  const auto cause = format::to_string(step.cause.value_or(format::Cause::exit));
  const Json code = step.number ? Json(*step.number) : Json(nullptr);
  if (files_.contains(kRank)) event(kRank, "exit", {{"code", code}, {"signal", ""}, {"cause", cause}});
  event(kEvents, "end",
        {{"state", state},
         {"cause", cause},
         {"exit_code", code},
         {"signal", ""},
         {"rank", 0},
         {"message", step.text},
         {"logs", {{"std.log", files_[kLog].size()}}},
         {"next", nullptr}});
  observation_ = {{"state", state}, {"cause", cause}, {"exit_code", code}, {"message", step.text}};
}

void Playback::play_step(const Step& step) {
  switch (step.kind) {
    case StepKind::state:
      return state(format::to_string(step.state), step.text);
    case StepKind::log:
      files_[kLog] += step.text;
      chunks_.push_back(lost_ > 0 ? std::string() : step.text);
      lost_ = std::max<std::int64_t>(0, lost_ - 1);
      return;
    case StepKind::metric:
      return format::encode_metric({.t = wall(now_ms_), .step = step.number, .name = step.text, .value = step.value},
                                   files_[kMetrics]);
    case StepKind::truncate:
      files_[kLog].clear();
      return;
    case StepKind::lose:
      lost_ += step.number.value_or(0);
      return;
    case StepKind::end:
      return end(step);
    case StepKind::disconnect:
      return;
  }
}

}  // namespace trainctl::target
