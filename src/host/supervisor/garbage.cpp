// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/garbage.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/ulid.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "host/gang/membership.hpp"

namespace trainctl::host {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kSubmitTakesMs = 3'600'000;
constexpr std::int64_t kYoungMs = 60'000;  // a burst of submits: each start would look at all the others' runs

/// Removes what begins with one of `prefixes` in `folder`; trees, too.
void remove_named(const fs::path& folder, std::span<const std::string_view> prefixes) {
  const auto names = base::list_directory(folder);
  if (!names) return;
  for (const std::string& name : *names) {
    const bool draft = std::any_of(prefixes.begin(), prefixes.end(),
                                   [&](std::string_view prefix) { return name.starts_with(prefix); });
    if (draft) (void)base::remove_tree(folder / name);
  }
}

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(base::wall_now().time_since_epoch()).count();
}

bool is_older(const fs::path& file, std::int64_t ms) {
  struct stat status{};
  return ::lstat(file.c_str(), &status) == 0 && now_ms() - status.st_mtime * 1000 >= ms;
}

bool is_needed(const format::StorePaths& store, const std::string& id) {
  const format::RunPaths run = run_here(store.root, id);
  if (!is_older(store.secrets(id), kYoungMs)) return true;
  if (!base::exists(run.root)) return !is_older(store.secrets(id), kSubmitTakesMs);
  const auto state = format::fold_run(run);
  return !state || !format::is_terminal(state->state);
}

}  // namespace

void remove_drafts(const format::RunPaths& run, int attempt, bool guest) {
  const format::AttemptPaths paths = run.attempt(attempt);
  constexpr std::array<std::string_view, 1> kOfRun = {".outputs-"};
  constexpr std::array<std::string_view, 4> kOfAttempt = {".draft-", ".keep-", ".outputs-", ".mlflow.json.tmp-"};
  constexpr std::array<std::string_view, 3> kOfNode = {".fence-", ".rank-", ".outputs-"};
  remove_named(paths.own_folder(), kOfNode);
  if (guest) return;
  remove_named(run.root, kOfRun);
  remove_named(paths.root, kOfAttempt);
}

void sweep_secrets(const format::StorePaths& store) {
  const fs::path folder = store.secrets("").parent_path();
  const auto names = base::list_directory(folder);
  if (!names) return;
  for (const std::string& name : *names) {
    const bool garbage = base::is_ulid(name) ? !is_needed(store, name)
                                             : name.starts_with('.') && is_older(folder / name, kSubmitTakesMs);
    if (garbage) ::unlink((folder / name).c_str());
  }
}

}  // namespace trainctl::host
