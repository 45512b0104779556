// SPDX-License-Identifier: Apache-2.0
// What the supervision of a run needs to know about its ranks as one group: ports before they start, how they are
// reached and stopped, when they are done, and whose exit counts.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "host/distribution/ports.hpp"
#include "host/distribution/rank_variables.hpp"
#include "host/supervisor/stopper.hpp"

namespace trainctl::host {

/// Ports that a node of a distributed run needs: node 0 one, with tensorflow every node one a rank. Empty when it needs
/// none.
Result<std::optional<PortReservation>> reserve_ports(const format::Plan& plan, int node = 0);
/// On this machine alone.
Rendezvous rendezvous_at(const std::vector<int>& ports);

/// Signals go to the ranks themselves also when mpiexec stands between: it would end them within a second.
std::unique_ptr<Stopper> make_stopper(const format::Plan& plan, const format::AttemptPaths& attempt);

/// How every rank ended, over all nodes and in order; empty: it has not.
using RankExits = std::vector<std::optional<RankExit>>;

/// Every process that trains has succeeded, and only servers are left.
bool training_is_over(const format::Plan& plan, const RankExits& exits);

/// The rank below mpiexec that failed first, by its record: MPICH lets the others wait for one that failed before it
/// called MPI_Init.
std::optional<int> failed_mpi_rank(const format::Plan& plan, const format::AttemptPaths& attempt);

struct StopPlan {
  int signal = 0;
  std::chrono::milliseconds grace{0};
};
/// As the run says.
StopPlan usual_stop(const format::Plan& plan);
/// How servers are stopped: parameter servers have nothing to save, an evaluator may.
StopPlan server_stop(const format::Plan& plan);

/// A rank as the verdict sees it.
struct JudgedRank {
  std::optional<RankExit> exit;
  pid_t pid = 0;
};
/// One entry a rank of `ranks`, which are those of this node or of all. Servers that were stopped after the training
/// was over (by `exits`, of all ranks) count as succeeded; when mpiexec failed, these are the ranks below it as far as
/// they were recorded.
std::vector<JudgedRank> judged_ranks(const format::Plan& plan, const format::AttemptPaths& attempt,
                                     std::vector<JudgedRank> ranks, const RankExits& exits);

/// See taken_port(), over the logs of all ranks.
int port_taken(const format::Plan& plan, const format::AttemptPaths& attempt, const PortReservation& ports);

}  // namespace trainctl::host
