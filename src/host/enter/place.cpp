// SPDX-License-Identifier: Apache-2.0
#include "host/enter/place.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/distribution/layout.hpp"
#include "host/distribution/mpi_rank.hpp"
#include "host/enter/order.hpp"
#include "host/environment/environment.hpp"
#include "host/environment/request.hpp"
#include "host/gang/membership.hpp"
#include "host/linux/process.hpp"
#include "host/resources/proc.hpp"
#include "host/supervisor/launch.hpp"
#include "host/supervisor/node_tree.hpp"
#include "host/waiter/rank_record.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kMaxEnvironment = 16U << 20U;

std::optional<std::string> value_of(const std::vector<std::string>& variables, const std::string& name) {
  const auto found = std::find_if(variables.begin(), variables.end(),
                                  [&](const std::string& one) { return one.starts_with(name + "="); });
  if (found == variables.end()) return std::nullopt;
  return found->substr(name.size() + 1);
}

bool has(const std::vector<std::string>& variables, const std::string& assignment) {
  return std::find(variables.begin(), variables.end(), assignment) != variables.end();
}

/// Empty when it has none of the run's: somebody else's process, or one that is about to become the script.
std::optional<std::vector<std::string>> environment_of(pid_t pid, const std::string& run) {
  const auto text = base::read_file("/proc/" + std::to_string(pid) + "/environ", kMaxEnvironment);
  if (!text) return std::nullopt;
  auto variables = base::split(*text, '\0');
  std::erase(variables, "");
  if (!has(variables, "TRAINCTL_RUN_ID=" + run)) return std::nullopt;
  return variables;
}

std::optional<std::vector<std::string>> living_environment(const Visited& visited) {
  if (!visited.lives_here()) return std::nullopt;
  auto variables = environment_of(visited.rank.process.pid, visited.run.id());
  // The pid may have been given to somebody else meanwhile.
  if (!visited.lives_here()) return std::nullopt;
  return variables;
}

/// In a container the records' pids mean nothing. The script is the oldest process with the run's variables.
std::optional<std::vector<std::string>> environment_inside(const std::string& run, int rank) {
  std::vector<pid_t> pids = all_pids();
  std::sort(pids.begin(), pids.end());
  for (const pid_t pid : pids) {
    auto variables = environment_of(pid, run);
    if (variables && has(*variables, "TRAINCTL_RANK=" + std::to_string(rank))) return variables;
  }
  return std::nullopt;
}

/// The environment that the run was given, where it is still here. Nothing is built.
Prepared prepared_again(const format::Plan& plan, const format::RunPaths& run, std::vector<std::string>& notes) {
  Prepared prepared;
  if (plan.environment.is_null()) return prepared;
  const auto request = environment_request_from_json(plan.environment);
  const auto root = format::StorePaths{run.store()}.environments();
  if (request && cached(*request, root).built) {
    EnsureOptions options;
    options.root = root;
    if (auto built = ensure(*request, options)) {
      prepared.python = built->python;
      prepared.variables = std::move(built->variables);
      return prepared;
    }
  }
  notes.emplace_back("the run's environment is not here any more");
  return prepared;
}

Result<std::vector<std::string>> recorded_environment(const Visited& visited, std::vector<std::string>& notes) {
  format::Plan plan = visited.plan;
  if (!plan.secrets.empty()) notes.push_back("without the run's secrets, " + base::join(plan.secrets, ", "));
  plan.secrets.clear();
  const Prepared prepared = prepared_again(plan, visited.run, notes);
  TRY_ASSIGN(const auto variables, rank_environment(plan, visited.run, visited.attempt, visited.place.rank, prepared));
  return variables.assignments();
}

Result<RankPlace> place_of(const format::Plan& plan, int rank) {
  const std::vector<RankPlace> places = layout(plan);
  if (rank == 0 && places.empty()) return RankPlace{};
  if (rank >= 0 && static_cast<std::size_t>(rank) < places.size()) return places[static_cast<std::size_t>(rank)];
  return fail(Errc::invalid, "the run has no rank " + std::to_string(rank) + ": " +
                                 (places.size() < 2 ? "it is one process, rank 0"
                                                    : "its ranks are 0 to " + std::to_string(places.size() - 1)));
}

Result<RankRecord> record_of(const Visited& visited) {
  const format::AttemptPaths attempt = visited.run.attempt(visited.attempt);
  const int rank = visited.place.rank;
  // Of MPI, only mpiexec has a waiter; it stands for rank 0.
  if (uses_mpi(visited.plan) && rank > 0) return read_mpi_ranks(attempt, 0, rank + 1).back();
  return read_rank(attempt.rank(visited.place.node, rank));
}

}  // namespace

bool Visited::lives_here() const {
  return goes_on() && rank.machine == base::machine_id() && rank.boot == base::boot_id() &&
         rank.pidns == base::pid_namespace() && is_alive(rank.process);
}

Result<Visited> visit_run(const std::filesystem::path& folder, int rank) {
  Visited visited{.run = format::RunPaths{folder, node_of(folder)}, .plan = {}};
  const format::RunPaths& run = visited.run;
  if (!base::exists(run.plan())) return fail(Errc::not_found, "there is no run in " + run.root.string());
  TRY_ASSIGN(visited.plan, format::read_plan(run.plan()));
  format::resolve_store_mark(visited.plan, run.store());
  TRY_ASSIGN(visited.place, place_of(visited.plan, rank));
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  visited.state = state.state;
  visited.attempt = format::last_attempt(run);
  if (visited.attempt > 0) {
    TRY_ASSIGN(visited.rank, record_of(visited));
  }
  if (visited.rank.started || format::is_terminal(visited.state)) return visited;
  const std::string what = rank == 0 ? "the run" : "rank " + std::to_string(rank) + " of the run";
  return fail(Errc::unavailable,
              what + " has not begun: it is " + std::string(format::to_string(visited.state)) +
                  ", and there is nothing to stand beside",
              "try again when it runs");
}

Result<Place> find_place(const Visited& visited, Stand stand, std::vector<std::string>& notes) {
  Place place{.directory = rank_directory(visited.plan, visited.run.attempt(std::max(1, visited.attempt))),
              .variables = {}};
  auto living = stand == Stand::container ? environment_inside(visited.run.id(), visited.place.rank)
                                          : living_environment(visited);
  if (living) {
    place.variables = std::move(*living);
    // The rank's own TMPDIR decided where that is.
    if (unpacks_on_node(visited.plan)) place.directory = value_of(place.variables, "PWD").value_or(place.directory);
    return place;
  }
  if (stand == Stand::container) return fail(Errc::unavailable, "the script in the container is not at work");
  if (visited.goes_on() && visited.rank.machine != base::machine_id())
    notes.push_back("the script is on another machine; this is " + base::host_name() + ", which has the same folder");
  TRY_ASSIGN(place.variables, recorded_environment(visited, notes));
  return place;
}

}  // namespace trainctl::host
