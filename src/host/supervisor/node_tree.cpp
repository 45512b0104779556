// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/node_tree.hpp"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/private_directory.hpp"
#include "base/process.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "snapshot/materialise.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

namespace fs = std::filesystem;

constexpr int kPatienceMs = 60'000;  // for another run that removes what was left here
constexpr int kLeavingMs = 2000;     // for one that leaves at the same time: it looks whether it is the last
constexpr const char* kClaim = ".claim";
constexpr std::string_view kLockEnding = ".lock";

/// Of this user on this machine.
fs::path trees_folder() {
  const fs::path temporary = base::get_env("TMPDIR").value_or("");
  const bool usable = temporary.is_absolute() && ::access(temporary.c_str(), W_OK | X_OK) == 0;
  return (usable ? temporary : fs::path("/tmp")) / ("trainctl-work-" + std::to_string(::geteuid()));
}

fs::path tree_of(const format::AttemptPaths& attempt) {
  const std::string run = attempt.root.parent_path().parent_path().filename().string();
  return trees_folder() / (run + "." + attempt.root.filename().string() + "." + std::to_string(attempt.own_node));
}

fs::path lock_of(const fs::path& tree) {
  return tree.string() + std::string(kLockEnding);
}

/// Whoever holds no lock any more was killed.
void remove_left(const fs::path& folder) {
  const auto names = base::list_directory(folder);
  if (!names) return;
  for (const std::string& name : *names) {
    if (name == kClaim) continue;
    const bool locks = std::string_view(name).ends_with(kLockEnding);
    const fs::path tree = folder / (locks ? name.substr(0, name.size() - kLockEnding.size()) : name);
    const auto lock = base::FileLock::try_acquire(lock_of(tree));
    if (!lock || !*lock) continue;
    (void)base::remove_tree(tree);
    ::unlink(lock_of(tree).c_str());
  }
}

Result<base::FileLock> enter(const fs::path& folder) {
  for (;;) {
    if (!base::make_private_directory(folder)) {
      return fail(Errc::denied, folder.string() + " cannot be made, belongs to somebody else, or is open to others",
                  "remove it, or set TMPDIR for the job to a folder of yours");
    }
    auto lock = base::FileLock::acquire(folder / kClaim, kPatienceMs);
    if (lock || lock.error().code != Errc::not_found) return lock;  // gone: the last one has just left
  }
}

/// The last one to leave removes the folder, so that nothing of ours stays on a node.
void leave(const fs::path& folder) {
  const auto claiming = base::FileLock::acquire(folder / kClaim, kLeavingMs);
  if (!claiming) return;
  const auto names = base::list_directory(folder);
  if (!names || names->size() != 1) return;
  ::unlink((folder / kClaim).c_str());
  ::rmdir(folder.c_str());
}

}  // namespace

bool unpacks_on_node(const format::Plan& plan) {
  if (!plan.target.is_object() || plan.source.value("kind", "none") != "snapshot") return false;
  const Json slurm = plan.target.value("slurm", Json());
  return slurm.is_object() && slurm.value("unpack", "") == "node_local";
}

fs::path source_root(const format::Plan& plan, const format::AttemptPaths& attempt) {
  if (plan.in_place()) return plan.source.value("directory", ".");
  if (unpacks_on_node(plan)) {
    const fs::path tree = tree_of(attempt);
    if (base::exists(tree)) return tree;
  }
  return attempt.work();
}

Result<NodeTree> NodeTree::claim(const format::AttemptPaths& attempt) {
  const fs::path folder = trees_folder();
  TRY_ASSIGN(const auto claiming, enter(folder));
  remove_left(folder);
  fs::path tree = tree_of(attempt);
  TRY_ASSIGN(auto lock, base::FileLock::try_acquire(lock_of(tree)));
  if (!lock) return fail(Errc::unavailable, tree.string() + " is in use by another process");
  TRY(base::remove_tree(tree));
  TRY(base::make_directory(tree));
  return NodeTree(std::move(tree), std::move(*lock));
}

NodeTree::~NodeTree() {
  if (path_.empty()) return;
  (void)base::remove_tree(path_);
  ::unlink(lock_of(path_).c_str());
  leave(path_.parent_path());
}

Result<> fill_node_tree(const format::Plan& plan, const format::RunPaths& run, int attempt) {
  const format::AttemptPaths paths = run.attempt(attempt);
  const fs::path tree = tree_of(paths);
  TRY_ASSIGN(const auto store, snapshot::Store::open(run.store()));
  TRY(snapshot::materialise(store, plan.source.value("digest", ""), tree,
                            {.verify = false, .make_outputs = false, .objects = {}, .go_on = {}}));
  if (::symlink(paths.outputs().c_str(), (tree / "outputs").c_str()) != 0)
    return fail_errno("make " + (tree / "outputs").string(), errno);
  return {};
}

}  // namespace trainctl::host
