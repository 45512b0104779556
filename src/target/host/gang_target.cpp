// SPDX-License-Identifier: Apache-2.0
#include "target/host/gang_target.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "target/cancel.hpp"
#include "target/host/collect.hpp"
#include "target/host/gang_files.hpp"
#include "target/host/gang_watch.hpp"
#include "target/host/host_launch.hpp"
#include "target/host/host_link.hpp"
#include "target/host/host_target.hpp"
#include "target/host/upload.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

/// For hosts `first` to `end - 1` at once; the error of the lowest that failed.
Result<> for_hosts(std::size_t first, std::size_t end, const std::function<Result<>(std::size_t host)>& work) {
  std::vector<Result<>> done(end);
  {
    std::vector<std::jthread> threads;
    for (std::size_t k = first; k < end; ++k) threads.emplace_back([&, k] { done[k] = work(k); });
  }
  for (Result<>& one : done) {
    if (!one) return std::move(one);
  }
  return {};
}

Result<> with_host(Result<> result, const HostLink& link) {
  if (!result) return fail(link.named(std::move(result).error()));
  return result;
}

/// outputs.node<k> beside the run's `outputs`. Only for people: it may fail.
void link_outputs(const RunRef& ref, int attempt, int node) {
  const format::AttemptPaths paths = format::RunPaths{ref.folder, node}.attempt(attempt);
  const auto link = ref.folder / paths.collected_outputs().filename();
  const auto target = paths.collected_outputs().lexically_relative(ref.folder);
  ::unlink(link.c_str());
  (void)!::symlink(target.c_str(), link.c_str());
}

}  // namespace

GangTarget::GangTarget(const std::string& name, std::vector<std::shared_ptr<HostLink>> links,
                       std::vector<std::string> addresses)
    : name_(name), links_(std::move(links)), addresses_(std::move(addresses)) {
  for (const auto& link : links_) hosts_.push_back(std::make_unique<HostTarget>(name_, link));
}

Capabilities GangTarget::capabilities() const {
  Capabilities all = hosts_.front()->capabilities();
  all.multi_node = true;
  return all;
}

Result<std::size_t> GangTarget::nodes_of(const RunRef& ref) const {
  TRY_ASSIGN(const auto plan, format::read_plan(format::RunPaths{ref.folder}.plan()));
  const auto nodes = static_cast<std::size_t>(std::max(1, plan.resources.nodes));
  if (nodes <= links_.size()) return nodes;
  return fail(Errc::invalid, "the run wants " + std::to_string(nodes) + " machines, the target " + name_ + " has " +
                                 std::to_string(links_.size()));
}

Result<Json> GangTarget::probe(const Cancel& cancel) {
  std::vector<Json> found(hosts_.size());
  TRY(for_hosts(0, hosts_.size(), [&](std::size_t k) -> Result<> {
    auto one = hosts_[k]->probe(cancel);
    if (!one) return fail(links_[k]->named(std::move(one).error()));
    found[k] = std::move(*one);
    return {};
  }));
  Json all = found.front();
  all["hosts"] = found;
  return all;
}

Result<> GangTarget::prepare(const RunRef& ref, const Json& request, std::size_t nodes, const Cancel& cancel) const {
  TRY(for_hosts(0, nodes, [&](std::size_t k) -> Result<> {
    TRY_ASSIGN(const auto client, links_[k]->client(cancel));
    return with_host(send_files(*client, ref, cancel), *links_[k]);
  }));
  Json asked = request;
  asked["op"] = "prepare";
  asked["gang"] = {{"node", 0}, {"nodes", nodes}, {"addresses", addresses_}};
  TRY_ASSIGN(const auto lead, links_.front()->client(cancel));
  TRY_ASSIGN(const Json answer, lead->request(asked, cancel));
  if (answer.value("attempt", 0) > 0) return {};  // it has begun already, and ended perhaps
  const Json gang = answer.value("gang", Json::object());
  return for_hosts(1, nodes, [&](std::size_t k) -> Result<> {
    Json own = asked;
    own["gang"] = gang;
    own["gang"]["node"] = k;
    TRY_ASSIGN(const auto client, links_[k]->client(cancel));
    auto prepared = client->request(own, cancel);
    if (!prepared) return fail(links_[k]->named(std::move(prepared).error()));
    return {};
  });
}

Result<Handle> GangTarget::launch(const RunRef& ref, const Cancel& cancel) {
  TRY_ASSIGN(const std::size_t nodes, nodes_of(ref));
  if (nodes == 1) return hosts_.front()->launch(ref, cancel);
  TRY_ASSIGN(const Json request, launch_request(ref));
  TRY(prepare(ref, request, nodes, cancel));
  TRY_ASSIGN(const auto lead, links_.front()->client(cancel));
  TRY(lead->request({{"op", "go"}, {"run", ref.run}}, cancel));
  TRY(forget_secrets(ref));
  return Handle{{"target", name_}};
}

Result<> GangTarget::adopt(const RunRef& ref, const Cancel& cancel) {
  TRY_ASSIGN(const std::size_t nodes, nodes_of(ref));
  // Another machine that cannot be reached now is what the run waits for, not an error of this command.
  (void)for_hosts(1, nodes, [&](std::size_t k) { return hosts_[k]->adopt(ref, cancel); });
  return hosts_.front()->adopt(ref, cancel);
}

Result<> GangTarget::reach(const Cancel& cancel) {
  return for_hosts(0, hosts_.size(), [&](std::size_t k) -> Result<> {
    // What is sent first goes back and forth between the hosts: nothing of it can be brought along.
    auto reached = hosts_.size() == 1 ? hosts_[k]->reach(cancel) : links_[k]->client(cancel).map([](const auto&) {});
    if (!reached) return fail(links_[k]->named(std::move(reached).error()));
    return {};
  });
}

Result<std::optional<Handle>> GangTarget::find(const RunRef& ref, const Cancel& cancel) {
  TRY_ASSIGN(const std::size_t nodes, nodes_of(ref));
  if (nodes == 1) return hosts_.front()->find(ref, cancel);
  TRY_ASSIGN(const auto lead, links_.front()->client(cancel));
  TRY_ASSIGN(const Json found, lead->request({{"op", "find"}, {"run", ref.run}}, cancel));
  // What was prepared and not begun is launched again.
  if (!found.value("found", false) || found.value("attempt", 0) == 0) return std::nullopt;
  return Handle{{"target", name_}};
}

Result<> GangTarget::watch(std::span<const Watched> runs, EventSink& sink, const Cancel& cancel, Until until) {
  std::map<std::string, GangFiles> files;
  std::size_t most = 1;
  for (const Watched& run : runs) {
    TRY_ASSIGN(const auto plan, format::read_plan(format::RunPaths{run.ref.folder}.plan()));
    TRY_ASSIGN(const std::size_t nodes, nodes_of(run.ref));
    files.emplace(run.ref.run, GangFiles(plan));
    most = std::max(most, nodes);
  }
  if (most == 1) return hosts_.front()->watch(runs, sink, cancel, until);
  return watch_gang(std::span(links_).first(most), runs, files, sink, cancel, until);
}

Result<> GangTarget::stop(const RunRef& ref, const StopPlan& plan, const Cancel& cancel) {
  TRY_ASSIGN(const std::size_t nodes, nodes_of(ref));
  auto stopped = hosts_.front()->stop(ref, plan, cancel);
  for (std::size_t k = 1; k < nodes && !stopped && stopped.error().code == Errc::unavailable; ++k) {
    if (hosts_[k]->stop(ref, plan, cancel)) return {};
  }
  return stopped;
}

Result<> GangTarget::signal(const RunRef& ref, const std::string& name, const Cancel& cancel) {
  return hosts_.front()->signal(ref, name, cancel);  // whose supervisor tells the others
}

Result<Collected> GangTarget::collect(const RunRef& ref, const CollectPlan& plan, const Cancel& cancel) {
  TRY_ASSIGN(const std::size_t nodes, nodes_of(ref));
  TRY_ASSIGN(Collected all, hosts_.front()->collect(ref, plan, cancel));
  CollectPlan rest = plan;
  for (std::size_t k = 1; k < nodes; ++k) {
    if (rest.max_bytes) rest.max_bytes = *plan.max_bytes - std::min(*plan.max_bytes, all.bytes);
    TRY_ASSIGN(const auto client, links_[k]->client(cancel));
    TRY_ASSIGN(const Collected one, collect_outputs(*client, ref, rest, cancel, static_cast<int>(k)));
    all.files += one.files;
    all.bytes += one.bytes;
    all.left_bytes += one.left_bytes;
    all.left.insert(all.left.end(), one.left.begin(), one.left.end());
    all.refused.insert(all.refused.end(), one.refused.begin(), one.refused.end());
    if (one.files > 0) link_outputs(ref, plan.attempt, static_cast<int>(k));
  }
  return all;
}

Result<> GangTarget::remove(const RunRef& ref, const Cancel& cancel) {
  TRY_ASSIGN(const std::size_t nodes, nodes_of(ref));
  return for_hosts(0, nodes, [&](std::size_t k) { return with_host(hosts_[k]->remove(ref, cancel), *links_[k]); });
}

Result<FileDigest> GangTarget::digest(const RunRef& ref, const std::string& file, const Cancel& cancel) {
  TRY_ASSIGN(const auto plan, format::read_plan(format::RunPaths{ref.folder}.plan()));
  const auto node = static_cast<std::size_t>(std::max(0, GangFiles(plan).node_of(file)));
  return hosts_[std::min(node, hosts_.size() - 1)]->digest(ref, file, cancel);
}

/// Of a rank that the run has not, the first, which says so.
Result<HostTarget*> GangTarget::host_of(const RunRef& ref, int rank) const {
  TRY_ASSIGN(const auto plan, format::read_plan(format::RunPaths{ref.folder}.plan()));
  const auto node = static_cast<std::size_t>(GangFiles(plan).node_of_rank(rank));
  return hosts_[std::min(node, hosts_.size() - 1)].get();
}

Result<std::vector<std::string>> GangTarget::enter(const RunRef& ref, const Visit& visit, const Cancel& cancel) {
  TRY_ASSIGN(HostTarget * host, host_of(ref, visit.rank));
  return host->enter(ref, visit, cancel);
}

Result<std::vector<std::string>> GangTarget::forward(const RunRef& ref, int port, int rank, const Cancel& cancel) {
  TRY_ASSIGN(HostTarget * host, host_of(ref, rank));
  return host->forward(ref, port, rank, cancel);
}

/// A host that cannot be cleaned keeps no other from it. What went wrong on the first is told, when all are done.
Result<Json> GangTarget::clean(bool all, const Cancel& cancel) {
  Json sum = {{"runs", 0}, {"kept", Json::array()}, {"bytes", 0}};
  std::optional<Error> problem;
  for (std::size_t k = 0; k < hosts_.size() && !cancel.requested(); ++k) {
    auto cleaned = hosts_[k]->clean(all, cancel);
    if (!cleaned) {
      if (!problem) problem = links_[k]->named(std::move(cleaned).error());
      continue;
    }
    sum["runs"] = std::max(sum.value("runs", std::uint64_t{0}), cleaned->value("runs", std::uint64_t{0}));
    sum["bytes"] = sum.value("bytes", std::uint64_t{0}) + cleaned->value("bytes", std::uint64_t{0});
    for (const Json& kept : cleaned->value("kept", Json::array())) {
      if (std::find(sum["kept"].begin(), sum["kept"].end(), kept) == sum["kept"].end()) sum["kept"].push_back(kept);
    }
  }
  if (problem) return fail(std::move(*problem));
  return sum;
}

}  // namespace trainctl::target
