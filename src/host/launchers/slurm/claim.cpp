// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/claim.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "base/ulid.hpp"
#include "format/event.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {
namespace {

std::filesystem::path owner_file(const format::AttemptPaths& attempt) {
  return attempt.root / "owner.json";
}

}  // namespace

Owner this_job() {
  Owner me = this_host();
  me.job = base::get_env("SLURM_JOB_ID").value_or("");
  me.restart = std::atoi(base::get_env("SLURM_RESTART_COUNT").value_or("0").c_str());
  return me;
}

Owner this_host() {
  return {.machine = base::host_name(), .boot = base::boot_id()};
}

Result<bool> claim(const format::AttemptPaths& attempt, const Owner& owner) {
  TRY(base::make_directories(attempt.root));
  const Json json = {{"job", owner.job}, {"restart", owner.restart}, {"machine", owner.machine}, {"boot", owner.boot}};
  const auto draft = attempt.root / (".owner-" + base::new_ulid());
  TRY(base::write_file_durable(draft, base::dump_json(json) + "\n"));
  const int linked = ::link(draft.c_str(), owner_file(attempt).c_str());
  const int problem = errno;
  ::unlink(draft.c_str());
  if (linked != 0 && problem != EEXIST) return fail_errno("claim " + attempt.root.string(), problem);
  TRY(base::sync_directory(attempt.root));
  return linked == 0;
}

Result<Owner> owner_of(const format::AttemptPaths& attempt) {
  TRY_ASSIGN(const std::string text, base::read_file(owner_file(attempt), 65536));
  TRY_ASSIGN(const Json json, base::parse_json(text));
  if (!json.is_object()) return fail(Errc::store, owner_file(attempt).string() + " is damaged");
  return Owner{.job = json.value("job", ""),
               .restart = json.value("restart", 0),
               .machine = json.value("machine", ""),
               .boot = json.value("boot", "")};
}

bool wants_another(const format::AttemptPaths& attempt) {
  const auto lines = format::read_lines(attempt.events());
  if (!lines) return false;
  return std::any_of(lines->begin(), lines->end(), [](const Json& line) {
    return line.value("type", Json()) == "end" && line.value("next", Json()) == "retry";
  });
}

Result<Entry> next_attempt(const format::RunPaths& run, const Owner& me) {
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  if (format::is_terminal(state.state) && !state.end.is_null())
    return Entry{0, "the run has ended (" + std::string(to_string(state.state)) + ")"};
  if (state.attempt == 0) return Entry{1, {}};
  const auto owner = owner_of(run.attempt(state.attempt));
  // The folder alone is there when the environment was built ahead.
  if (!owner && owner.error().code == Errc::not_found) return Entry{state.attempt, {}};
  if (!owner) return tl::make_unexpected(owner.error());
  Entry next{state.attempt + 1, {}};
  if (wants_another(run.attempt(state.attempt))) return next;
  if (owner->job.empty()) return Entry{0, "the submit host is ending the run"};
  if (owner->job != me.job) return Entry{0, "the run goes on in job " + owner->job};
  if (owner->restart >= me.restart) return Entry{0, "this start of the job has begun already"};
  return next;
}

}  // namespace trainctl::host::slurm
