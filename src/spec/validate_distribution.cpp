// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "spec/complaints.hpp"
#include "spec/run_configuration.hpp"
#include "spec/validate_parts.hpp"

namespace trainctl::spec {
namespace {

constexpr std::int64_t kMostRanks = 10000;

std::string_view word_of(DistributionType type) {
  constexpr std::array<std::string_view, 4> kWords = {"processes", "pytorch", "mpi", "tensorflow"};
  return kWords.at(static_cast<std::size_t>(type));
}

void check_tensorflow(const RunConfiguration& config, Complaints& out) {
  const Distribution& it = *config.distribution;
  if (it.worker_count && it.processes_per_node) {
    out.add("/distribution/worker_count", "distribution.worker_count",
            "\"worker_count\" and \"processes_per_node\" both say how many processes there are", "keep worker_count");
  }
  const std::int64_t servers = it.parameter_server_count.value_or(0);
  if (servers > 0 && it.chief == false && !it.worker_count && !it.processes_per_node) {
    out.add("/distribution/chief", "distribution.chief", "parameter servers need somebody who trains",
            "set \"worker_count\", or remove \"chief\": false");
  }
  if (it.worker_count.value_or(1) + servers > kMostRanks) {
    out.add("/distribution/worker_count", "distribution", "more than " + std::to_string(kMostRanks) + " processes");
  }
}

/// Fields that only one type understands.
void check_foreign_fields(const Distribution& it, Complaints& out) {
  const auto only = [&](const char* name, DistributionType type, bool given) {
    if (!given || it.type == type) return;
    const bool written = out.written("/distribution/type");
    out.add(std::string("/distribution/") + name, std::string("distribution.") + name,
            "\"" + std::string(name) + "\" is for the type \"" + std::string(word_of(type)) + "\", " +
                (written ? "this is \"" + std::string(word_of(it.type)) + "\"" : "and \"type\" is missing"),
            written ? "remove it" : "add \"type\": \"" + std::string(word_of(type)) + "\"");
  };
  only("backend", DistributionType::pytorch, it.backend.has_value());
  only("worker_count", DistributionType::tensorflow, it.worker_count.has_value());
  only("parameter_server_count", DistributionType::tensorflow, it.parameter_server_count.has_value());
  only("chief", DistributionType::tensorflow, it.chief.has_value());
  only("evaluator", DistributionType::tensorflow, it.evaluator);
}

}  // namespace

void check_distribution(const RunConfiguration& config, Complaints& out) {
  if (!config.distribution) return;
  const Distribution& it = *config.distribution;
  check_foreign_fields(it, out);
  if (it.type == DistributionType::tensorflow) check_tensorflow(config, out);
  if (it.processes_per_node && *it.processes_per_node * config.resources.nodes > kMostRanks) {
    out.add("/distribution/processes_per_node", "distribution.processes_per_node",
            "more than " + std::to_string(kMostRanks) + " processes on " + std::to_string(config.resources.nodes) +
                " nodes");
  }
  if (it.backend == "nccl" && config.resources.gpus == 0) {
    out.add("/distribution/backend", "distribution.backend", "nccl needs GPUs, and resources.gpus is 0",
            "write \"gloo\", or ask for GPUs");
  }
  if (it.type == DistributionType::mpi && config.logs.via != LogVia::file) {
    out.add("/logs/via", "logs.via", "processes started by mpiexec write their logs themselves",
            "remove it: \"file\" is the only way");
  }
}

}  // namespace trainctl::spec
