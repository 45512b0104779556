// SPDX-License-Identifier: Apache-2.0
#include "host/distribution/group.hpp"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/admission/slot_folder.hpp"
#include "host/distribution/layout.hpp"
#include "host/distribution/mpi_rank.hpp"
#include "host/distribution/ports.hpp"
#include "host/distribution/rank_variables.hpp"
#include "host/supervisor/rank_set.hpp"
#include "host/supervisor/stopper.hpp"
#include "host/waiter/rank_record.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::chrono::seconds kServerGrace{5};

/// To the ranks below mpiexec, each a process group of its own; to mpiexec itself while there are none.
void signal_mpi(const format::AttemptPaths& attempt, int count, const Rank& launcher, int number) {
  if (!launcher.record.started || launcher.settled()) return;
  bool reached = false;
  for (const RankRecord& record : read_mpi_ranks(attempt, 0, count)) {
    if (!record.started || record.exit || !is_alive(record.process)) continue;
    reached = true;
    const pid_t pid = record.process.pid;
    if (::kill(-pid, number) != 0 && errno == ESRCH) ::kill(pid, number);
    if (number != SIGCONT && number != SIGSTOP && number != SIGTSTP) ::kill(-pid, SIGCONT);
  }
  if (!reached) signal_rank(launcher, number);
}

}  // namespace

Result<std::optional<PortReservation>> reserve_ports(const format::Plan& plan, int node) {
  const bool each = plan.distribution && plan.distribution->type == "tensorflow";
  if (!is_distributed(plan) || (!each && node > 0)) return std::nullopt;
  const std::size_t count = each ? static_cast<std::size_t>(waiter_count(plan, node)) : 1;
  TRY_ASSIGN(auto ports, PortReservation::choose(count, slot_folder()));
  return std::optional(std::move(ports));
}

Rendezvous rendezvous_at(const std::vector<int>& ports) {
  return {.addresses = {"127.0.0.1"}, .master_port = ports.empty() ? 0 : ports.front(), .ports = ports};
}

std::unique_ptr<Stopper> make_stopper(const format::Plan& plan, const format::AttemptPaths& attempt) {
  const int number = std::max(1, std::atoi(attempt.root.filename().c_str()));
  TreeFinder finder(plan.id, number);
  if (plan.container) finder.look_everywhere();
  if (!uses_mpi(plan)) return std::make_unique<Stopper>(std::move(finder));
  return std::make_unique<Stopper>(
      std::move(finder),
      [attempt, count = world_size(plan)](const Rank& rank, int signal) { signal_mpi(attempt, count, rank, signal); });
}

bool training_is_over(const format::Plan& plan, const RankExits& exits) {
  if (!plan.distribution || plan.distribution->type != "tensorflow") return false;
  return completed_at(layout(plan), exits).has_value();
}

std::optional<int> failed_mpi_rank(const format::Plan& plan, const format::AttemptPaths& attempt) {
  std::optional<int> failed;
  std::uint64_t first = UINT64_MAX;
  const auto records = read_mpi_ranks(attempt, 0, world_size(plan));
  for (std::size_t r = 0; r < records.size(); ++r) {
    const auto& exit = records[r].exit;
    if (!exit || exit->code == 0 || exit->mono_ns >= first) continue;
    first = exit->mono_ns;
    failed = static_cast<int>(r);
  }
  return failed;
}

StopPlan usual_stop(const format::Plan& plan) {
  return {signal_number(plan.stop.signal).value_or(SIGINT), plan.stop.grace};
}

StopPlan server_stop(const format::Plan& plan) {
  if (plan.distribution && plan.distribution->evaluator) return usual_stop(plan);
  return {SIGTERM, std::min<std::chrono::milliseconds>(plan.stop.grace, kServerGrace)};
}

std::vector<JudgedRank> judged_ranks(const format::Plan& plan, const format::AttemptPaths& attempt,
                                     std::vector<JudgedRank> judged, const RankExits& exits) {
  if (uses_mpi(plan)) {
    if (judged.empty()) return judged;
    const auto& launcher = judged.front().exit;
    if (!launcher || launcher->code == 0 || launcher->cause == "start") return judged;
    std::vector<JudgedRank> below;
    for (const RankRecord& record : read_mpi_ranks(attempt, 0, world_size(plan))) {
      below.push_back({record.exit, record.process.pid});
    }
    const bool known =
        std::any_of(below.begin(), below.end(), [](const JudgedRank& one) { return one.exit && one.exit->code != 0; });
    return known ? below : judged;
  }
  const std::vector<RankPlace> places = layout(plan);
  const auto over = plan.distribution ? completed_at(places, exits) : std::nullopt;
  if (!over) return judged;
  for (JudgedRank& one : judged) {
    if (one.exit && one.exit->mono_ns >= *over) *one.exit = {.mono_ns = one.exit->mono_ns};
  }
  return judged;
}

int port_taken(const format::Plan& plan, const format::AttemptPaths& attempt, const PortReservation& ports) {
  std::vector<std::filesystem::path> logs;
  for (const RankPlace& place : layout(plan)) {
    if (place.node == attempt.own_node) logs.push_back(attempt.log(place.rank));
  }
  return taken_port(ports.ports(), logs);
}

}  // namespace trainctl::host
