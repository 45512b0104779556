// SPDX-License-Identifier: Apache-2.0
#include "engine/reach.hpp"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json.hpp"
#include "target/cancel.hpp"
#include "target/registry.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

/// The target without the hosts that the run leaves alone.
Json needed_part(Json definition, int nodes) {
  const auto hosts = definition.find("hosts");
  const auto needed = static_cast<std::size_t>(std::max(1, nodes));
  while (hosts != definition.end() && hosts->size() > needed) hosts->erase(hosts->size() - 1);
  return definition;
}

}  // namespace

Result<std::unique_ptr<Reaching>> Reaching::begin(const Json& definition, int nodes,
                                                  const std::filesystem::path& store) {
  TRY_ASSIGN(auto target, target::open_target(needed_part(definition, nodes), store));
  if (target->capabilities().in_place) return nullptr;
  TRY_ASSIGN(auto cancel, target::Cancel::create());
  return std::unique_ptr<Reaching>(new Reaching(std::move(target), std::move(cancel)));
}

Reaching::Reaching(std::unique_ptr<target::Target> target, target::Cancel cancel)
    : target_(std::move(target)), cancel_(std::move(cancel)), thread_([this] { reached_ = target_->reach(cancel_); }) {}

Reaching::~Reaching() {
  cancel_.request();
  if (thread_.joinable()) thread_.join();
}

Result<> Reaching::wait() {
  if (thread_.joinable()) thread_.join();
  return *reached_;
}

}  // namespace trainctl::engine
