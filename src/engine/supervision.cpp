// SPDX-License-Identifier: Apache-2.0
#include "engine/supervision.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "format/plan.hpp"
#include "host/supervise.hpp"

namespace trainctl::engine {
namespace {

constexpr std::int64_t kNeverStartedMs = 60'000;

/// Time enough for the command that created the run to begin it.
bool was_abandoned(const std::string& id) {
  const auto made = base::ulid_time_ms(id);
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(base::wall_now().time_since_epoch()).count();
  return made && now - *made >= kNeverStartedMs;
}

Result<std::string> write_request(const format::RunPaths& run, Json body) {
  const std::string id = base::new_ulid();
  body["v"] = 1;
  body["t"] = base::format_utc(base::wall_now());
  body["user"] = base::user_name();
  body["host"] = base::host_name();
  TRY(base::make_directories(run.control()));
  TRY(base::write_file_durable(run.request(id), base::dump_json(body) + "\n"));
  return id;
}

}  // namespace

bool is_supervised(const format::RunPaths& run) {
  return base::lock_holder(run.supervisor_lock()).has_value();
}

Result<> ensure_supervised(const format::RunPaths& run, Start start) {
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  if (format::is_terminal(state.state)) return {};
  if (is_supervised(run)) return {};
  const bool may_start = start == Start::allowed;
  if (state.attempt == 0 && !may_start && !was_abandoned(run.id())) return {};
  auto spawned = host::spawn_supervisor(run.root, state.attempt > 0 || may_start);
  if (!spawned) return fail(std::move(spawned).error().with_context("start the supervisor of " + run.id()));
  return {};
}

Result<std::string> request_cancel(const format::RunPaths& run, const std::string& reason) {
  return write_request(run, {{"type", "cancel"}, {"reason", reason}});
}

Result<std::string> request_signal(const format::RunPaths& run, const std::string& signal) {
  return write_request(run, {{"type", "signal"}, {"signal", signal}});
}

}  // namespace trainctl::engine
