// SPDX-License-Identifier: Apache-2.0
#include "host/distribution/layout.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "format/plan.hpp"
#include "host/waiter/rank_record.hpp"

namespace trainctl::host {
namespace {

bool is_tensorflow(const format::Plan& plan) {
  return plan.distribution && plan.distribution->type == "tensorflow";
}

std::vector<Role> tensorflow_roles(const format::PlanDistribution& distribution) {
  std::vector<Role> roles;
  if (distribution.chief) roles.push_back(Role::chief);
  roles.insert(roles.end(), static_cast<std::size_t>(std::max(distribution.workers, 0)), Role::worker);
  roles.insert(roles.end(), static_cast<std::size_t>(std::max(distribution.parameter_servers, 0)), Role::ps);
  if (distribution.evaluator) roles.push_back(Role::evaluator);
  return roles;
}

}  // namespace

std::string_view to_string(Role role) {
  constexpr std::array<std::string_view, 4> kNames = {"chief", "worker", "ps", "evaluator"};
  return kNames.at(static_cast<std::size_t>(role));
}

int world_size(const format::Plan& plan) {
  if (is_tensorflow(plan)) return std::max(1, static_cast<int>(tensorflow_roles(*plan.distribution).size()));
  return std::max(1, plan.processes_per_node) * std::max(1, plan.resources.nodes);
}

std::vector<RankPlace> layout(const format::Plan& plan) {
  const int world = world_size(plan);
  const int nodes = std::max(1, plan.resources.nodes);
  const int per_node = (world + nodes - 1) / nodes;
  const std::vector<Role> roles = is_tensorflow(plan) ? tensorflow_roles(*plan.distribution) : std::vector<Role>{};
  std::array<int, 4> seen{};
  std::vector<RankPlace> places;
  places.reserve(static_cast<std::size_t>(world));
  for (int rank = 0; rank < world; ++rank) {
    RankPlace place{.rank = rank, .node = rank / per_node, .local_rank = rank % per_node};
    place.local_size = std::min(per_node, world - place.node * per_node);
    if (!roles.empty()) place.role = roles[static_cast<std::size_t>(rank)];
    place.role_index = seen.at(static_cast<std::size_t>(place.role))++;
    places.push_back(place);
  }
  return places;
}

bool is_distributed(const format::Plan& plan) {
  return plan.distribution.has_value() || world_size(plan) > 1;
}

bool uses_mpi(const format::Plan& plan) {
  return plan.distribution && plan.distribution->type == "mpi";
}

int first_rank(const format::Plan& plan, int node) {
  const std::vector<RankPlace> places = layout(plan);
  const auto found =
      std::find_if(places.begin(), places.end(), [&](const RankPlace& place) { return place.node == node; });
  return found == places.end() ? static_cast<int>(places.size()) : found->rank;
}

int waiter_count(const format::Plan& plan, int node) {
  if (uses_mpi(plan)) return node == 0 ? 1 : 0;
  const std::vector<RankPlace> places = layout(plan);
  return static_cast<int>(
      std::count_if(places.begin(), places.end(), [&](const RankPlace& place) { return place.node == node; }));
}

std::optional<std::uint64_t> completed_at(const std::vector<RankPlace>& ranks,
                                          const std::vector<std::optional<RankExit>>& exits) {
  const auto has = [&](Role role) {
    return std::any_of(ranks.begin(), ranks.end(), [&](const RankPlace& place) { return place.role == role; });
  };
  if (!has(Role::ps) && !has(Role::evaluator)) return std::nullopt;
  // With parameter servers the workers are servers, too: the chief gives them work.
  const bool chief_decides = has(Role::chief) && has(Role::ps);
  std::uint64_t last = 0;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const bool decides = ranks[i].role == Role::chief || (ranks[i].role == Role::worker && !chief_decides);
    if (!decides) continue;
    if (i >= exits.size() || !exits[i] || exits[i]->code != 0) return std::nullopt;
    last = std::max(last, exits[i]->mono_ns);
  }
  return last;
}

}  // namespace trainctl::host
