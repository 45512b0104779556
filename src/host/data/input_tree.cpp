// SPDX-License-Identifier: Apache-2.0
#include "host/data/input_tree.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/ulid.hpp"
#include "format/paths.hpp"
#include "snapshot/materialise.hpp"
#include "snapshot/store.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDraft = ".draft-";
constexpr const char* kObjects = "../../snapshots/objects";  // as seen from inputs/<digest>/

/// Nobody adds to or removes from the folders of an input.
Result<> close_folders(const fs::path& root) {
  std::vector<fs::path> folders = {root};
  std::error_code problem;
  for (auto at = fs::recursive_directory_iterator(root, problem); !problem && at != fs::recursive_directory_iterator();
       at.increment(problem)) {
    if (at->is_directory() && !at->is_symlink()) folders.push_back(at->path());
  }
  if (problem) return fail_errno("read " + root.string(), problem.value());
  for (const fs::path& folder : folders) {
    if (::chmod(folder.c_str(), 0500) != 0) return fail_errno("close " + folder.string(), errno);
  }
  return {};
}

Result<> fill(const fs::path& draft, const snapshot::Store& snapshots, const std::string& digest) {
  TRY(snapshot::materialise(snapshots, digest, draft,
                            {.verify = false, .make_outputs = false, .objects = std::string(kObjects)}));
  TRY(close_folders(draft));
  TRY_ASSIGN(const base::UniqueFd fd, base::open_file(draft, O_RDONLY | O_DIRECTORY));
  // One commit for all files: syncing each of 20,000 takes a minute.
  if (::syncfs(fd.get()) != 0) return fail_errno("write " + draft.string() + " to the disk", errno);
  return {};
}

}  // namespace

bool has_input_tree(const format::StorePaths& store, std::string_view digest) {
  return base::exists(store.inputs() / digest);
}

Result<> make_input_tree(const format::StorePaths& store, const snapshot::Store& snapshots, const std::string& digest) {
  const fs::path tree = store.inputs() / digest;
  if (base::exists(tree)) return {};
  TRY(base::make_directories(store.inputs()));
  const fs::path draft = store.inputs() / (std::string(kDraft) + base::random_hex(8));
  auto made = fill(draft, snapshots, digest);
  if (made && ::rename(draft.c_str(), tree.c_str()) != 0 && errno != EEXIST && errno != ENOTEMPTY)
    made = fail_errno("make " + tree.string(), errno);
  if (base::exists(draft)) (void)base::remove_tree(draft);
  if (!made) return fail(std::move(made).error().with_context("making the input " + tree.string()));
  return base::sync_directory(store.inputs());
}

Result<> remove_input_trees(const format::StorePaths& store, const std::set<std::string>& needed) {
  TRY_ASSIGN(const auto names, base::list_directory(store.inputs()));
  for (const std::string& name : names) {
    if (!needed.contains(name)) TRY(base::remove_tree(store.inputs() / name));
  }
  return {};
}

}  // namespace trainctl::host
