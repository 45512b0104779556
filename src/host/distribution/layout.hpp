// SPDX-License-Identifier: Apache-2.0
// Which processes a run has, and where: pure, from the plan alone. Addresses and ports come later.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "format/plan.hpp"
#include "host/waiter/rank_record.hpp"

namespace trainctl::host {

/// TensorFlow's word for what a process does; with every other distribution all are workers.
enum class Role { chief, worker, ps, evaluator };
std::string_view to_string(Role role);

struct RankPlace {
  int rank = 0;  ///< over all nodes
  int node = 0;
  int local_rank = 0;
  int local_size = 1;  ///< ranks of this node
  Role role = Role::worker;
  int role_index = 0;  ///< among those of the same role
  friend bool operator==(const RankPlace&, const RankPlace&) = default;
};

/// Every rank in order. Nodes hold consecutive ranks; with tensorflow the last node may hold fewer.
/// Order of roles: chief, workers, parameter servers, evaluator, so that rank 0 leads.
std::vector<RankPlace> layout(const format::Plan& plan);

int world_size(const format::Plan& plan);
/// More than one process, or a distribution that was asked for with one.
bool is_distributed(const format::Plan& plan);
/// Its ranks are started by one mpiexec, not by waiters of ours.
bool uses_mpi(const format::Plan& plan);
/// The first rank of a node, and how many processes have a waiter there: with mpi only mpiexec, on node 0.
int first_rank(const format::Plan& plan, int node);
int waiter_count(const format::Plan& plan, int node);

/// Servers never exit: the training is over when the chief has succeeded, or without parameter servers or without a
/// chief when everybody who trains has. The mono_ns of that moment; empty while it has not come, or when every rank
/// ends by itself. `exits` has one entry a rank.
std::optional<std::uint64_t> completed_at(const std::vector<RankPlace>& ranks,
                                          const std::vector<std::optional<RankExit>>& exits);

}  // namespace trainctl::host
