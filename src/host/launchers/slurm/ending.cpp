// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/ending.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "format/event.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/launchers/slurm/claim.hpp"
#include "host/launchers/slurm/record.hpp"
#include "host/supervisor/journal.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {
namespace {

std::map<std::string, std::uint64_t> log_sizes(const format::AttemptPaths& attempt) {
  std::map<std::string, std::uint64_t> sizes;
  const auto names = base::list_directory(attempt.logs());
  if (!names) return sizes;
  for (const std::string& name : *names) {
    if (name.ends_with(".log")) sizes[name] = base::file_size(attempt.logs() / name).value_or(0);
  }
  return sizes;
}

/// The attempt that gets the end; 0 when a job has it.
Result<int> attempt_to_end(const format::RunPaths& run, const format::RunState& state, const Abandoned& abandoned) {
  if (state.attempt == 0 || wants_another(run.attempt(state.attempt))) {
    TRY_ASSIGN(const bool mine, claim(run.attempt(state.attempt + 1), this_host()));
    return mine ? state.attempt + 1 : 0;
  }
  const auto owner = owner_of(run.attempt(state.attempt));
  const bool ours = owner && owner->job.empty();  // a submission that was killed here was about to end it
  if (owner) return ours || (owner->job == abandoned.job && state.attempt == abandoned.attempt) ? state.attempt : 0;
  if (owner.error().code != Errc::not_found) return tl::make_unexpected(owner.error());
  TRY_ASSIGN(const bool mine, claim(run.attempt(state.attempt), this_host()));
  return mine ? state.attempt : 0;
}

}  // namespace

std::uint64_t ended_ms(const format::AttemptPaths& attempt) {
  const Json end = format::last_end(attempt.events());
  return end.is_null() ? 0 : written_ms(end);
}

std::string lost_node(const std::string& batch_host, int nodes) {
  return nodes > 1 ? "a node of the job was lost" : "node " + batch_host + " was lost";
}

std::string submit_host() {
  return base::host_name();
}

Result<bool> end_from_here(const format::RunPaths& run, const AttemptEnd& end, const Abandoned& abandoned) {
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  if (format::is_terminal(state.state) && !state.end.is_null()) return true;
  TRY_ASSIGN(const int number, attempt_to_end(run, state, abandoned));
  if (number == 0) return false;
  const format::AttemptPaths attempt = run.attempt(number);
  TRY_ASSIGN(Journal journal, Journal::open(attempt, number));
  for (const std::string& request : state.open_requests) {
    journal.acknowledge(request, end.state == format::State::canceled ? "accepted" : "too late: the job is gone");
  }
  if (!end.retry) ::unlink(format::StorePaths{run.store()}.secrets(run.id()).c_str());
  TRY(journal.end(end, log_sizes(attempt)));
  return true;
}

Result<> close_cut_off(const format::RunPaths& run, int attempt) {
  const format::AttemptPaths paths = run.attempt(attempt);
  TRY_ASSIGN(const auto lines, format::read_lines(paths.events()));
  const bool ended =
      std::any_of(lines.begin(), lines.end(), [](const Json& line) { return line.value("type", Json()) == "end"; });
  if (lines.empty() || ended) return {};
  const auto owner = owner_of(paths);
  TRY_ASSIGN(const format::Plan plan, format::read_plan(run.plan()));
  TRY_ASSIGN(Journal journal, Journal::open(paths, attempt));
  const AttemptEnd end{
      .state = format::State::failed,
      .cause = format::Cause::node,
      .message = lost_node(owner ? owner->machine : "?", plan.resources.nodes) + ", Slurm has started the job again",
      .retry = true};
  return journal.end(end, log_sizes(paths));
}

}  // namespace trainctl::host::slurm
