// SPDX-License-Identifier: Apache-2.0
#include "format/fold.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "trainctl/result.hpp"

namespace trainctl::format {
namespace {

std::string text_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<int> number_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<int>();
}

/// From one line of the record to a later one.
std::optional<std::chrono::microseconds> span(const Json& from, const Json& to) {
  using std::chrono::microseconds;
  const auto begin = base::parse_utc(text_of(from, "t"));
  const auto end = base::parse_utc(text_of(to, "t"));
  if (!begin || !end) return std::nullopt;
  const auto mono = [](const Json& line) -> std::int64_t {
    const auto found = line.find("mono_ns");
    return found != line.end() && found->is_number_integer() ? found->get<std::int64_t>() : -1;
  };
  const std::string boot = text_of(from, "boot");
  if (!boot.empty() && boot == text_of(to, "boot") && mono(from) >= 0 && mono(to) >= mono(from)) {
    return microseconds((mono(to) - mono(from)) / 1000);
  }
  return std::chrono::duration_cast<microseconds>(std::max(*end, *begin) - *begin);
}

void fold_end(const Json& line, const Json& began, RunState& view) {
  const auto state = parse_state(text_of(line, "state"));
  if (!state || !is_terminal(*state)) return;
  view.message = text_of(line, "message");
  if (text_of(line, "next") == "retry") {
    view.state = State::retrying;
    return;
  }
  view.state = *state;
  view.cause = parse_cause(text_of(line, "cause"));
  view.exit_code = number_of(line, "exit_code");
  view.signal = text_of(line, "signal");
  view.ended = text_of(line, "t");
  view.end = line;
  view.took = span(began, line);
}

void fold_event(const Json& line, bool last_attempt, Json& began, RunState& view, std::set<std::string>& acknowledged) {
  const std::string type = text_of(line, "type");
  if (type == "control") acknowledged.insert(text_of(line, "request"));
  if (type == "warning") view.warnings.push_back(text_of(line, "message"));
  if (type == "state" && view.started.empty() && text_of(line, "state") == "running") {
    view.started = text_of(line, "t");
    began = line;
  }
  if (!last_attempt || is_terminal(view.state)) return;
  if (type == "attempt") view.lead = line;
  if (type == "state") {
    const auto state = parse_state(text_of(line, "state"));
    if (!state || is_terminal(*state)) return;
    view.state = *state;
    view.last_state = line;
    view.message = text_of(line, "message");
  }
  if (type == "end") fold_end(line, began, view);
}

/// What an engine said last of a run that has no lead of ours.
void fold_observed(const std::vector<std::vector<Json>>& clients, RunState& view) {
  Json began;
  for (const auto& client : clients) {
    for (const Json& line : client) {
      if (text_of(line, "type") != "observed") continue;
      const auto state = parse_state(text_of(line, "state"));
      if (!state) continue;
      view.state = *state;
      view.message = text_of(line, "message");
      if (*state == State::running && view.started.empty()) {
        view.started = text_of(line, "t");
        began = line;
      }
      if (!is_terminal(*state)) continue;
      view.cause = parse_cause(text_of(line, "cause"));
      view.exit_code = number_of(line, "exit_code");
      view.ended = text_of(line, "t");
      view.took = span(began, line);
    }
  }
}

bool is_retry(const Json& line) {
  return text_of(line, "type") == "end" && text_of(line, "next") == "retry";
}

/// Between two attempts the run may be back in an engine's queue: what that said since the last attempt's end.
void fold_back_in_queue(const std::vector<std::vector<Json>>& clients, RunState& view) {
  for (const auto& client : clients) {
    for (const Json& line : client) {
      const auto state = parse_state(text_of(line, "state"));
      if (text_of(line, "type") != "observed" || number_of(line, "attempt") != view.attempt) continue;
      if (state != State::queued && state != State::preparing) continue;
      if (text_of(line, "after") != "retry") continue;
      view.state = *state;
      view.message = text_of(line, "message");
    }
  }
}

}  // namespace

RunState fold(const RunLines& lines) {
  RunState view;
  view.attempt = lines.attempt;
  std::set<std::string> acknowledged;
  Json began;
  for (const Json& line : lines.earlier_events) fold_event(line, false, began, view, acknowledged);
  for (const Json& line : lines.events) fold_event(line, true, began, view, acknowledged);
  if (lines.events.empty() && view.state == State::created) {
    if (lines.attempt > 1) view.state = State::retrying;
    fold_observed(lines.clients, view);
  }
  if (view.state == State::retrying) fold_back_in_queue(lines.clients, view);
  bool cancel_open = false;
  for (const auto& [id, request] : lines.requests) {
    if (acknowledged.contains(id)) {
      view.acknowledged_stop = view.acknowledged_stop || text_of(request, "type") == "cancel";
      continue;
    }
    view.open_requests.push_back(id);
    cancel_open = cancel_open || text_of(request, "type") == "cancel";
  }
  if (cancel_open && !is_terminal(view.state)) view.state = State::stopping;
  return view;
}

int last_log_copy(const AttemptPaths& attempt, int rank) {
  int copy = 1;
  while (base::exists(attempt.log_copy(rank, copy + 1))) ++copy;
  return copy;
}

int last_attempt(const RunPaths& run) {
  int last = 0;
  const auto names = base::list_directory(run.attempts());
  if (!names) return 0;
  for (const std::string& name : *names) {
    int number = 0;
    const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (problem != std::errc() || end != name.data() + name.size()) continue;
    // Where the machines of a run share the folder, an attempt of another one is not yet ours.
    if (run.own_node > 0 && !base::exists(run.attempt(number).events())) continue;
    last = std::max(last, number);
  }
  return last;
}

Result<RunLines> read_run_lines(const RunPaths& run) {
  RunLines lines;
  lines.attempt = last_attempt(run);
  for (int n = 1; n < lines.attempt; ++n) {
    TRY_ASSIGN(std::vector<Json> events, read_lines(run.attempt(n).events()));
    for (Json& event : events) lines.earlier_events.push_back(std::move(event));
  }
  if (lines.attempt > 0) {
    TRY_ASSIGN(lines.events, read_lines(run.attempt(lines.attempt).events()));
  }
  TRY_ASSIGN(const std::vector<std::string> requests, base::list_directory(run.control()));
  for (const std::string& name : requests) {
    if (!std::string_view(name).ends_with(".json")) continue;
    const auto text = base::read_file_if_exists(run.control() / name);
    if (!text || !*text) continue;
    auto json = base::parse_json(**text);
    if (json && json->is_object()) lines.requests.emplace(name.substr(0, name.size() - 5), std::move(*json));
  }
  // What clients saw counts only while there is no lead.
  if (!lines.events.empty() && std::none_of(lines.events.begin(), lines.events.end(), is_retry)) return lines;
  TRY_ASSIGN(const std::vector<std::string> clients, base::list_directory(run.clients()));
  for (const std::string& name : clients) {
    if (!std::string_view(name).ends_with(".jsonl")) continue;
    TRY_ASSIGN(std::vector<Json> client, read_lines(run.clients() / name));
    lines.clients.push_back(std::move(client));
  }
  return lines;
}

Result<RunState> fold_run(const RunPaths& run) {
  TRY_ASSIGN(const RunLines lines, read_run_lines(run));
  return fold(lines);
}

}  // namespace trainctl::format
