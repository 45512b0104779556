// SPDX-License-Identifier: Apache-2.0
#include "host/adoption.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/launchers/launcher.hpp"
#include "host/linux/process.hpp"
#include "host/supervise.hpp"
#include "host/waiter/rank_record.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::int64_t kNeverStartedMs = 60'000;
constexpr int kLeavingMs = 5000;

/// Time enough for the command that created the run to begin it.
bool was_abandoned(const std::string& id) {
  const auto made = base::ulid_time_ms(id);
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(base::wall_now().time_since_epoch()).count();
  return made && now - *made >= kNeverStartedMs;
}

Error not_ended(const format::RunPaths& run, format::State state) {
  const auto plan = format::read_plan(run.plan());
  const std::string name = plan ? plan->name : run.id();
  return {.code = Errc::invalid,
          .message = name + " has not ended (" + std::string(format::to_string(state)) + ")",
          .hint = "trainctl cancel " + name};
}

/// As the ranks' own records tell: a process may begin, and print, a moment before the state of its run says so.
bool has_process(const format::RunPaths& run) {
  const format::AttemptPaths attempt = run.attempt(format::last_attempt(run));
  const auto names = base::list_directory(attempt.own_folder());
  return names && std::any_of(names->begin(), names->end(), [&](const std::string& name) {
           if (!name.starts_with("rank-")) return false;
           const auto rank = read_rank(attempt.own_folder() / name);
           return rank && rank->started && !rank->exit;
         });
}

}  // namespace

bool lead_is_alive(const format::RunState& state) {
  if (!state.lead.is_object()) return false;
  const Json& lead = state.lead;
  if (lead.value("machine", "") != base::machine_id() || lead.value("boot", "") != base::boot_id()) return false;
  if (lead.value("pidns", "") != base::pid_namespace()) return false;
  // Killed, it may stay a zombie: in a container whose first process reaps nobody, for ever.
  return is_alive({.pid = lead.value("pid", 0), .start_time = lead.value("starttime", std::uint64_t{0})});
}

Result<base::FileLock> lock_ended(const format::RunPaths& run) {
  auto acquired = base::FileLock::try_acquire(run.supervisor_lock());
  if (!acquired) return fail(std::move(acquired).error());
  std::optional<base::FileLock>& lock = *acquired;
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  const bool ended = format::is_terminal(state.state);
  // Its supervisor has written the end and is about to go.
  if (ended && !lock) return base::FileLock::acquire(run.supervisor_lock(), kLeavingMs);
  // Whether there is another attempt is for node 0 to say; another node that has ended its own may go.
  const bool left = run.own_node > 0 && state.state == format::State::retrying;
  const bool never_begun = state.attempt == 0 && !was_handed_over(run);
  if (lock && (ended || left || never_begun)) return std::move(*lock);
  return tl::make_unexpected(not_ended(run, state.state));
}

Result<> ensure_supervised(const format::RunPaths& run, Start start) {
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  if (format::is_terminal(state.state)) return {};
  if (lead_is_alive(state)) return {};
  // A node does nothing before node 0 says so.
  const bool may_start = start == Start::allowed || run.own_node > 0;
  if (state.attempt == 0 && !may_start && !was_abandoned(run.id())) return {};
  auto spawned = spawn_supervisor(run.root, {.start_unstarted = state.attempt > 0 || may_start, .node = run.own_node});
  if (!spawned) return fail(std::move(spawned).error().with_context("start the supervisor of " + run.id()));
  return {};
}

Result<> check_hears_signals(const format::RunPaths& run) {
  using format::State;
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  if (format::is_terminal(state.state))
    return fail(Errc::not_found, "the run has ended: there is no process to send it to");
  if (state.state == State::running || state.state == State::stopping || has_process(run)) return {};
  return fail(Errc::unavailable,
              "the run is " + std::string(format::to_string(state.state)) + ": there is no process to send it to",
              "try again when it runs; a plain trainctl cancel ends it at any time");
}

Result<std::string> write_request(const format::RunPaths& run, Json body, std::string id) {
  if (id.empty()) id = base::new_ulid();
  body["v"] = 1;
  body["t"] = base::format_utc(base::wall_now());
  body["user"] = base::user_name();
  body["host"] = base::host_name();
  TRY(base::make_directories(run.control()));
  TRY(base::write_file_durable(run.request(id), base::dump_json(body) + "\n"));
  return id;
}

}  // namespace trainctl::host
