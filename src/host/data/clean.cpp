// SPDX-License-Identifier: Apache-2.0
#include "host/data/clean.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/removal.hpp"
#include "host/admission/slot_folder.hpp"
#include "host/adoption.hpp"
#include "host/data/input_tree.hpp"
#include "host/environment/environment.hpp"
#include "host/gang/membership.hpp"
#include "snapshot/maintenance.hpp"
#include "snapshot/spare.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

namespace fs = std::filesystem;

/// A snapshot that was sent and whose run has not come yet.
constexpr auto kGrace = std::chrono::hours(1);
constexpr std::uint64_t kNsPerMs = 1'000'000;

std::string name_of(const format::RunPaths& run) {
  const auto plan = format::read_plan(run.plan());
  return plan ? plan->name : run.id();
}

Result<std::vector<std::string>> run_ids(const format::StorePaths& store) {
  TRY_ASSIGN(auto names, base::list_directory(store.runs()));
  std::erase_if(names, [](const std::string& name) { return !base::is_ulid(name); });
  return names;
}

/// Locks of all ended runs, so that none is taken up while it is removed; the others are noted as kept.
Result<std::vector<base::FileLock>> lock_all(const format::StorePaths& store, std::vector<std::string>& ended,
                                             Cleaned& cleaned) {
  TRY_ASSIGN(const auto ids, run_ids(store));
  std::vector<base::FileLock> locks;
  locks.reserve(ids.size());
  for (const std::string& id : ids) {
    auto lock = lock_ended(run_here(store.root, id));
    if (lock) {
      locks.push_back(std::move(*lock));
      ended.push_back(id);
    } else {
      cleaned.kept.emplace_back(id, name_of(store.run(id)));
    }
  }
  return locks;
}

Result<> clean_data(const format::StorePaths& store) {
  std::set<std::string> needed;
  TRY_ASSIGN(const auto ids, run_ids(store));
  for (const std::string& id : ids) {
    if (const auto plan = format::read_plan(store.run(id).plan())) needed.merge(format::needed_digests(*plan));
  }
  if (base::exists(store.snapshots() / "format")) {
    TRY_ASSIGN(const auto snapshots, snapshot::Store::open(store.root));
    TRY(snapshot::collect_garbage(snapshots, needed, kGrace, std::chrono::milliseconds(0)));
    TRY_ASSIGN(const auto left, snapshots.digests());
    needed.insert(left.begin(), left.end());
  }
  return remove_input_trees(store, needed);
}

Result<> clean_environments(const format::StorePaths& store) {
  TRY_ASSIGN(const auto environments, list_environments(store.environments()));
  for (const EnvironmentInfo& environment : environments) {
    if (!environment.in_use) (void)remove_environment(store.environments(), environment.key);
  }
  return {};
}

/// A folder that runners are pushed to; not the folder itself while somebody else's file is in it.
void remove_runners(const fs::path& folder) {
  const auto names = base::list_directory(folder);
  if (!names) return;
  for (const std::string& name : *names) {
    if (name.starts_with("trainctl-runner-") || name.starts_with(".trainctl-runner-"))
      ::unlink((folder / name).c_str());
  }
  ::rmdir(folder.c_str());
}

/// The runners beside the store, and where this one is: another place when programs may not be there (bootstrap.sh).
void remove_pushed_runners(const fs::path& root) {
  remove_runners(root / "bin");
  std::error_code problem;
  const fs::path self = fs::read_symlink("/proc/self/exe", problem);
  const fs::path place = self.parent_path();
  if (problem || !self.filename().string().starts_with("trainctl-runner-")) return;
  const bool beside_store = place.filename() == "bin";
  if (beside_store && base::exists(place.parent_path() / "store")) return;  // that one stays
  remove_runners(place);
  if (beside_store) ::rmdir(place.parent_path().c_str());
}

Result<> refuse_kept(const Cleaned& cleaned) {
  if (cleaned.kept.empty()) return {};
  std::vector<std::string> names;
  names.reserve(cleaned.kept.size());
  for (const auto& [id, name] : cleaned.kept) names.push_back(name);
  return fail(Errc::invalid, "not everything here has ended: " + base::join(names, ", "), "cancel first, or wait");
}

Result<> remove_everything(const format::StorePaths& store) {
  std::optional<base::FileLock> no_spares;
  if (base::exists(store.snapshots() / "format")) {
    TRY_ASSIGN(const auto snapshots, snapshot::Store::open(store.root));
    TRY_ASSIGN(no_spares, snapshot::remove_spares(snapshots));
  }
  TRY(base::remove_tree(store.root));
  remove_pushed_runners(store.root.parent_path());
  ::rmdir(store.root.parent_path().c_str());
  remove_slot_folders();
  return {};
}

/// Whether all are gone before the time is up.
Result<bool> remove_runs(const format::StorePaths& store, const std::vector<std::string>& ended,
                         std::uint64_t deadline_ns, Cleaned& cleaned) {
  for (const std::string& id : ended) {
    if (base::mono_ns() >= deadline_ns) return false;
    TRY_ASSIGN(const bool removed, format::remove_run(store, id));
    cleaned.runs += removed ? 1U : 0U;
  }
  return true;
}

}  // namespace

Result<Cleaned> clean(const format::StorePaths& store, bool everything,
                      std::optional<std::chrono::milliseconds> patience) {
  const auto given = static_cast<std::uint64_t>(patience.value_or(std::chrono::milliseconds(0)).count()) * kNsPerMs;
  const std::uint64_t deadline_ns = patience ? base::mono_ns() + given : UINT64_MAX;
  const fs::path disk = store.root.parent_path().parent_path();
  const std::uint64_t before = base::free_bytes(store.root);
  Cleaned cleaned;
  std::vector<std::string> ended;
  TRY_ASSIGN(const auto locks, lock_all(store, ended, cleaned));
  if (everything) TRY(refuse_kept(cleaned));
  TRY_ASSIGN(const bool all_gone, remove_runs(store, ended, deadline_ns, cleaned));
  cleaned.more = !all_gone;
  if (all_gone && everything) TRY(remove_everything(store));
  if (all_gone && !everything) {
    TRY(format::sweep_removed(store));
    TRY(clean_data(store));
    TRY(clean_environments(store));
  }
  const std::uint64_t after = base::free_bytes(base::exists(store.root) ? store.root : disk);
  cleaned.bytes = after - std::min(before, after);
  return cleaned;
}

}  // namespace trainctl::host
