// SPDX-License-Identifier: Apache-2.0
// The environment variables by which the processes of a run find each other, in every convention that scripts read:
// torch.distributed, TensorFlow, Open MPI, Azure Batch and Azure ML. Pure: from the plan, a rank's place, and where the
// ranks meet.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "host/distribution/layout.hpp"

namespace trainctl::host {

/// Where the ranks of an attempt meet.
struct Rendezvous {
  std::vector<std::string> addresses = {"127.0.0.1"};  ///< of the nodes, numeric; node 0 first
  int master_port = 0;                                 ///< on node 0
  std::vector<int> ports = {};                         ///< tensorflow: one a rank, on the node of that rank
};

using RankVariables = std::vector<std::pair<std::string, std::string>>;

/// What is the same for all ranks.
RankVariables shared_variables(const format::Plan& plan, const Rendezvous& rendezvous);
/// What only this rank has.
RankVariables own_variables(const format::Plan& plan, const RankPlace& place);
/// TF_CONFIG of this rank; the evaluator is in no cluster.
std::string tf_config(const std::vector<RankPlace>& ranks, const RankPlace& place, const Rendezvous& rendezvous);

/// Threads for each process: the node's cpus divided by its ranks, at least one.
int threads_per_rank(double cpus, int local_size);

/// The GPUs this rank sees of those the node was given. TensorFlow takes all it sees, so there each trainer gets its
/// share and parameter servers none; everywhere else all, chosen by LOCAL_RANK.
std::vector<int> gpus_of_rank(const std::vector<RankPlace>& ranks, const RankPlace& place, const format::Plan& plan,
                              const std::vector<int>& gpus);

/// Variables of another launcher that would be taken for ours (a run started inside a run, or inside mpiexec).
bool is_foreign_rank_variable(std::string_view name);

}  // namespace trainctl::host
