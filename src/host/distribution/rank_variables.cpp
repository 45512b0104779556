// SPDX-License-Identifier: Apache-2.0
#include "host/distribution/rank_variables.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/text.hpp"
#include "format/plan.hpp"
#include "host/distribution/layout.hpp"

namespace trainctl::host {
namespace {

std::string address_of(const Rendezvous& rendezvous, int node) {
  const auto index = static_cast<std::size_t>(node);
  return index < rendezvous.addresses.size() ? rendezvous.addresses[index] : rendezvous.addresses.at(0);
}

/// "10.0.0.1:2222", "[fd00::1]:2222"
std::string endpoint(const std::string& address, int port) {
  const bool bracket = address.find(':') != std::string::npos;
  return (bracket ? "[" + address + "]" : address) + ":" + std::to_string(port);
}

bool has_type(const format::Plan& plan, std::string_view type) {
  return plan.distribution && plan.distribution->type == type;
}

}  // namespace

int threads_per_rank(double cpus, int local_size) {
  return std::max(1, static_cast<int>(cpus) / std::max(1, local_size));
}

RankVariables shared_variables(const format::Plan& plan, const Rendezvous& rendezvous) {
  const std::string master = address_of(rendezvous, 0);
  const std::string world = std::to_string(world_size(plan));
  RankVariables made = {{"WORLD_SIZE", world},
                        {"MASTER_ADDR", master},
                        {"MASTER_PORT", std::to_string(rendezvous.master_port)},
                        {"TRAINCTL_WORLD_SIZE", world},
                        {"AZ_BATCH_MASTER_NODE", endpoint(master, rendezvous.master_port)},
                        {"AZ_BATCH_HOST_LIST", base::join(rendezvous.addresses, ",")},
                        {"AZ_BATCH_NODE_LIST", base::join(rendezvous.addresses, ";")},
                        {"AZ_BATCHAI_MPI_MASTER_NODE", master},
                        {"AZUREML_NODE_COUNT", std::to_string(std::max(1, plan.resources.nodes))}};
  if (plan.distribution && !plan.distribution->backend.empty()) {
    made.emplace_back("TRAINCTL_BACKEND", plan.distribution->backend);
  }
  // gloo asks the resolver for this machine's name to choose an interface; on one machine loopback is always right.
  if (plan.resources.nodes <= 1 && has_type(plan, "pytorch")) {
    made.emplace_back("GLOO_SOCKET_IFNAME", "lo");
    made.emplace_back("TP_SOCKET_IFNAME", "lo");
  }
  return made;
}

RankVariables own_variables(const format::Plan& plan, const RankPlace& place) {
  const std::string rank = std::to_string(place.rank);
  const std::string local = std::to_string(place.local_rank);
  const std::string size = std::to_string(place.local_size);
  const std::string node = std::to_string(place.node);
  const std::string world = std::to_string(world_size(plan));
  RankVariables made = {{"RANK", rank},
                        {"LOCAL_RANK", local},
                        {"LOCAL_WORLD_SIZE", size},
                        {"NODE_RANK", node},
                        {"GROUP_RANK", node},
                        {"TRAINCTL_RANK", rank},
                        {"TRAINCTL_LOCAL_RANK", local},
                        {"AZ_BATCHAI_TASK_INDEX", rank},
                        {"AZUREML_CR_NODE_RANK", node}};
  if (has_type(plan, "tensorflow")) {
    made.emplace_back("TRAINCTL_ROLE", to_string(place.role));
    return made;
  }
  // Scripts for Azure ML read these whatever started them; mpiexec of Open MPI sets the same values.
  for (const auto& [name, value] : {std::pair{"RANK", rank}, std::pair{"SIZE", world}, std::pair{"LOCAL_RANK", local},
                                    std::pair{"LOCAL_SIZE", size}, std::pair{"NODE_RANK", local}}) {
    made.emplace_back(std::string("OMPI_COMM_WORLD_") + name, value);
  }
  return made;
}

std::string tf_config(const std::vector<RankPlace>& ranks, const RankPlace& place, const Rendezvous& rendezvous) {
  Json cluster = Json::object();
  for (const RankPlace& one : ranks) {
    if (one.role == Role::evaluator) continue;
    const auto index = static_cast<std::size_t>(one.rank);
    const int port = index < rendezvous.ports.size() ? rendezvous.ports[index] : 0;
    cluster[std::string(to_string(one.role))].push_back(endpoint(address_of(rendezvous, one.node), port));
  }
  const Json task = {{"type", to_string(place.role)}, {"index", place.role_index}};
  return base::dump_json({{"cluster", cluster}, {"task", task}, {"environment", "cloud"}});
}

std::vector<int> gpus_of_rank(const std::vector<RankPlace>& ranks, const RankPlace& place, const format::Plan& plan,
                              const std::vector<int>& gpus) {
  if (!has_type(plan, "tensorflow") || ranks.size() <= 1) return gpus;
  std::size_t trainers = 0;
  std::size_t mine = 0;
  for (const RankPlace& one : ranks) {
    if (one.node != place.node || one.role == Role::ps) continue;
    if (one.rank < place.rank) ++mine;
    ++trainers;
  }
  if (place.role == Role::ps || trainers == 0) return {};
  std::vector<int> share;
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    if (i * trainers / gpus.size() == mine) share.push_back(gpus[i]);
  }
  if (share.empty() && !gpus.empty()) share.push_back(gpus[mine % gpus.size()]);  // more trainers than GPUs
  return share;
}

bool is_foreign_rank_variable(std::string_view name) {
  constexpr std::array<std::string_view, 14> kNames = {
      "RANK",      "LOCAL_RANK",  "WORLD_SIZE",  "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "ROLE_RANK",
      "TF_CONFIG", "MASTER_ADDR", "MASTER_PORT", "GROUP_WORLD_SIZE", "PMI_RANK",  "PMI_SIZE",   "PMI_FD"};
  constexpr std::array<std::string_view, 7> kPrefixes = {"OMPI_COMM_WORLD_", "PMIX_", "MPI_LOCAL",    "TORCHELASTIC_",
                                                         "AZ_BATCH",         "HYDI_", "OMPI_UNIVERSE"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end() ||
         std::any_of(kPrefixes.begin(), kPrefixes.end(), [&](std::string_view one) { return name.starts_with(one); });
}

}  // namespace trainctl::host
