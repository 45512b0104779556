// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/run_inputs.hpp"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "snapshot/materialise.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

/// The digest of an input that was sent here: STORE/inputs/<digest>/<name>.
std::optional<std::string> sent_digest(const format::PlanInput& input, const format::RunPaths& run) {
  const std::filesystem::path below =
      std::filesystem::path(input.path).lexically_relative(format::StorePaths{run.store()}.inputs());
  if (below.empty() || *below.begin() == ".." || *below.begin() == ".") return std::nullopt;
  return below.begin()->string();
}

/// From the snapshot store and not from the tree, which is read-only and leads to the store's blobs.
Result<> copy_sent_input(const format::RunPaths& run, const std::string& digest, const std::filesystem::path& to) {
  TRY_ASSIGN(const auto store, snapshot::Store::open(run.store()));
  TRY(snapshot::materialise(store, digest, to, {.verify = false, .make_outputs = false, .objects = {}}));
  return {};
}

}  // namespace

bool copies_inputs(const format::Plan& plan) {
  return std::any_of(plan.inputs.begin(), plan.inputs.end(), [](const auto& input) { return input.is_copied(); });
}

Result<> copy_inputs(const format::Plan& plan, const format::RunPaths& run, int attempt) {
  namespace fs = std::filesystem;
  for (const format::PlanInput& input : plan.inputs) {
    if (!input.is_copied()) continue;
    const fs::path to = run.attempt(attempt).inputs() / input.copy_path();
    TRY(base::remove_tree(to));  // half of it, when a supervisor was killed here
    TRY(base::make_directories(to.parent_path()));
    if (const auto digest = sent_digest(input, run)) {
      TRY(copy_sent_input(run, *digest, to.parent_path()));
      continue;
    }
    std::error_code problem;
    const fs::path from = fs::canonical(input.path, problem);
    if (!problem) fs::copy(from, to, fs::copy_options::recursive | fs::copy_options::copy_symlinks, problem);
    if (problem) {
      return fail(problem == std::errc::no_space_on_device ? Errc::store : Errc::io,
                  "cannot copy the input " + input.name + " from " + input.path + ": " + problem.message());
    }
  }
  return {};
}

Result<> check_inputs(const format::Plan& plan) {
  for (const format::PlanInput& input : plan.inputs) {
    std::error_code problem;
    if (std::filesystem::exists(input.path, problem)) continue;
    return fail(Errc::cannot_start,
                "the input " + input.name + " is not on " + base::host_name() + ": " + input.path +
                    (problem ? " (" + problem.message() + ")" : ""),
                "\"host:/…\" names a file or folder of the machine that the run is on");
  }
  return {};
}

}  // namespace trainctl::host
