// SPDX-License-Identifier: Apache-2.0
#include "engine/elsewhere.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "archive/store.hpp"
#include "base/json.hpp"
#include "format/input_list.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "snapshot/hash_tree.hpp"
#include "snapshot/store.hpp"
#include "target/registry.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

namespace fs = std::filesystem;

std::string marked(const fs::path& below) {
  return std::string(format::kStoreMark) + "/" + below.string();
}

}  // namespace

Result<Elsewhere> Elsewhere::open(const archive::Store& store, Json definition, target::TransferProgress progress) {
  TRY_ASSIGN(auto snapshots, snapshot::Store::open(store.paths().root));
  return Elsewhere(std::move(snapshots), std::move(definition), std::move(progress));
}

Result<std::string> Elsewhere::send(const fs::path& path) {
  const auto tell = [this](std::uint64_t done, std::uint64_t total) {
    if (progress_) progress_({.what = "reading inputs", .bytes = total, .bytes_done = done});
  };
  TRY_ASSIGN(snapshot::HashedTree tree, snapshot::hash_tree(store_, path, tell));
  std::string there = marked(fs::path("inputs") / tree.digest / path.filename());
  const bool known = std::any_of(sent_.begin(), sent_.end(),
                                 [&](const format::SentInput& input) { return input.digest == tree.digest; });
  if (!known) sent_.push_back({tree.digest, path.string(), std::move(tree.manifest)});
  return there;
}

std::string Elsewhere::outputs_of(const std::string& run, int attempt) {
  return marked(format::StorePaths{}.run(run).attempt(attempt).outputs());
}

Result<> Elsewhere::send_container(format::PlanContainer& container) {
  if (container.dockerfile.empty()) return {};
  const fs::path dockerfile = container.dockerfile;
  const fs::path inside = dockerfile.lexically_relative(container.context);
  TRY_ASSIGN(container.context, send(container.context));
  if (!inside.empty() && *inside.begin() != "..") {
    container.dockerfile = (fs::path(container.context) / inside).string();
    return {};
  }
  TRY_ASSIGN(container.dockerfile, send(dockerfile));
  return {};
}

Result<bool> takes_files(const archive::Store& store, const Json& definition) {
  TRY_ASSIGN(const auto target, target::open_target(definition, store.paths().root));
  return target->capabilities().takes_files;
}

}  // namespace trainctl::engine
