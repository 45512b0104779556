// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/keep.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "base/ulid.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/supervisor/node_tree.hpp"
#include "snapshot/glob.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostProblems = 5;

/// `to` appears whole: a copy that is killed half way is made again by the next supervisor.
Result<> bring(const fs::path& from, const fs::path& to, const std::optional<fs::path>& draft) {
  std::error_code problem;
  if (fs::exists(fs::symlink_status(to, problem))) return {};
  fs::create_directories(to.parent_path(), problem);
  if (!problem && draft) fs::copy_file(from, *draft, problem);
  if (!problem) fs::rename(draft.value_or(from), to, problem);
  if (problem && draft) ::unlink(draft->c_str());
  if (problem) return fail(Errc::io, from.filename().string() + " could not be kept: " + problem.message());
  return {};
}

/// Regular files below `root`, relative, without the outputs folder and hidden version control.
std::vector<fs::path> candidates(const fs::path& root, const std::vector<snapshot::Glob>& globs) {
  std::vector<fs::path> found;
  std::error_code problem;
  for (auto it = fs::recursive_directory_iterator(root, fs::directory_options::skip_permission_denied, problem);
       !problem && it != fs::recursive_directory_iterator(); it.increment(problem)) {
    const fs::path path = it->path().lexically_relative(root);
    std::error_code ignored;
    if (it.depth() == 0 && (path == "outputs" || path == ".git")) {
      it.disable_recursion_pending();
      continue;
    }
    if (!it->is_regular_file(ignored) || it->is_symlink(ignored)) continue;
    const bool wanted = std::any_of(globs.begin(), globs.end(),
                                    [&](const snapshot::Glob& glob) { return glob.matches(path.string()); });
    if (wanted) found.push_back(path);
  }
  return found;
}

}  // namespace

std::vector<std::string> keep_files(const format::Plan& plan, const format::AttemptPaths& attempt) {
  std::vector<std::string> problems;
  if (plan.keep.empty()) return problems;
  std::vector<snapshot::Glob> globs;
  globs.reserve(plan.keep.size());
  for (const std::string& pattern : plan.keep) globs.push_back(snapshot::Glob::compile(pattern, false));
  const fs::path root = source_root(plan, attempt);
  for (const fs::path& path : candidates(root, globs)) {
    std::optional<fs::path> draft;
    if (root != attempt.work()) draft = attempt.root / (".keep-" + base::new_ulid());
    auto brought = bring(root / path, attempt.outputs() / path, draft);
    if (!brought && problems.size() < kMostProblems) problems.push_back(brought.error().message);
  }
  return problems;
}

}  // namespace trainctl::host
