// SPDX-License-Identifier: Apache-2.0
#include "cli/explain_distribution.hpp"

#include <string>

#include "base/text.hpp"
#include "format/plan.hpp"
#include "host/distribution/layout.hpp"
#include "host/distribution/rank_variables.hpp"

namespace trainctl::cli {
namespace {

constexpr int kFirstPort = 29500;

std::string counted(int count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 || what.ends_with("s") ? "" : "s");
}

std::string roles_text(const format::PlanDistribution& distribution) {
  std::string text;
  if (distribution.chief) text += ", 1 chief";
  text += ", " + counted(distribution.workers, "worker");
  if (distribution.parameter_servers > 0) text += ", " + counted(distribution.parameter_servers, "parameter server");
  if (distribution.evaluator) text += ", 1 evaluator";
  return text;
}

std::string assignments(const host::RankVariables& variables) {
  std::string text;
  for (const auto& [name, value] : variables) text += name + "=" + base::shell_quote(value) + " ";
  return text;
}

/// The servers of tensorflow never end by themselves.
std::string wait_lines(const format::Plan& plan) {
  if (!plan.distribution || plan.distribution->parameter_servers == 0) {
    return "for pid in \"${pids[@]}\"; do wait \"$pid\"; done";
  }
  const int trainers = plan.distribution->chief ? 1 : plan.distribution->workers;
  const std::string count = std::to_string(trainers);
  return "for pid in \"${pids[@]:0:" + count + "}\"; do wait \"$pid\"; done\nkill \"${pids[@]:" + count +
         "}\" 2>/dev/null || true";
}

}  // namespace

std::string distribution_text(const format::Plan& plan) {
  if (!host::is_distributed(plan)) return {};
  const format::PlanDistribution distribution = plan.distribution.value_or(format::PlanDistribution{});
  std::string text = distribution.type;
  if (!distribution.backend.empty()) text += " (" + distribution.backend + ")";
  if (distribution.type == "tensorflow") {
    text += roles_text(distribution);
  } else {
    text += ", " + std::to_string(host::world_size(plan)) + (host::world_size(plan) == 1 ? " process" : " processes");
  }
  if (plan.resources.nodes > 1) text += " on " + counted(plan.resources.nodes, "node");
  return text;
}

std::string by_hand(const format::Plan& plan, const std::string& command) {
  if (!host::is_distributed(plan)) return command;
  const auto places = host::layout(plan);
  if (host::uses_mpi(plan)) return "mpiexec -n " + std::to_string(places.size()) + " " + command;
  host::Rendezvous meeting{.master_port = kFirstPort};
  for (const host::RankPlace& place : places) meeting.ports.push_back(kFirstPort + place.rank);
  const bool tensorflow = plan.distribution && plan.distribution->type == "tensorflow";
  std::string text = "# " + std::to_string(places.size()) + " processes; trainctl chooses free ports\n";
  text += "export " + assignments(host::shared_variables(plan, meeting)) + "\npids=()\n";
  for (const host::RankPlace& place : places) {
    text += assignments(host::own_variables(plan, place));
    if (tensorflow) text += "TF_CONFIG=" + base::shell_quote(host::tf_config(places, place, meeting)) + " ";
    text += command + " & pids+=($!)\n";
  }
  return text + wait_lines(plan);
}

}  // namespace trainctl::cli
