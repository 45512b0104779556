// SPDX-License-Identifier: Apache-2.0
// What git says about a source directory, for the record of a run.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "trainctl/result.hpp"

namespace trainctl::snapshot {

struct GitState {
  std::string commit;            ///< full hash; empty before the first commit
  std::string branch;            ///< empty when detached
  std::string remote_url;        ///< of origin, without credentials; empty when there is none
  std::uint64_t changed = 0;     ///< tracked files below the source directory that differ from the commit
  std::uint64_t untracked = 0;   ///< files and folders below it that git neither tracks nor ignores
  std::string patch;             ///< `git diff HEAD` of the source directory, at most 1 MiB
  bool patch_truncated = false;  ///< larger: `patch` is empty
  [[nodiscard]] bool dirty() const { return changed > 0 || untracked > 0; }
};

struct GitAnswer {
  std::optional<GitState> state = {};  ///< empty: no repository, or `why_not`
  std::string why_not = {};            ///< there is a repository, but git is missing, too slow or refuses it
};

/// Starts nothing when no `.git` lies in `directory` or above it. Runs no program that the repository names (no hooks,
/// file system monitor, external diff or text conversion) and takes no locks. At most `deadline` for each of three
/// calls.
GitAnswer git_state(const std::filesystem::path& directory,
                    std::chrono::milliseconds deadline = std::chrono::seconds(5));

/// The URL without user, password, query and fragment ("git@host:path" stays: a user name alone is no secret there).
std::string without_credentials(std::string_view url);

}  // namespace trainctl::snapshot
