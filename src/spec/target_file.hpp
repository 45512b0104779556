// SPDX-License-Identifier: Apache-2.0
// The files that name targets: NAME.json in the user's targets/ and in the project's, beside its trainctl.json.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spec/layer.hpp"
#include "spec/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::spec {

/// Where target files are looked for; an empty one is not looked at.
struct TargetFolders {
  std::optional<std::filesystem::path> project;
  std::optional<std::filesystem::path> user;
  std::optional<std::filesystem::path> trusted;  ///< the TrustList

  /// Of the project that `directory` is in, and of the user of this process.
  static TargetFolders around(const std::filesystem::path& directory);
};

struct TargetPlace {
  std::string name;
  std::filesystem::path file;
  bool project = false;
  bool hidden = false;  ///< the user's, where the project has one of the same name
};

/// All files, by name; what is not called like a target is left out.
std::vector<TargetPlace> list_target_files(const TargetFolders& folders);
/// The project's, else the user's.
std::optional<TargetPlace> find_target_file(const TargetFolders& folders, std::string_view name);

struct TargetFile {
  TargetPlace place;
  TargetSpec target;
  Layer defaults;  ///< for the runs on it; empty when there are none
};

/// Every mistake of its text with its position. Errc::denied for what a project's file may only say once it is trusted:
/// an ssh configuration or host keys, a secret's command, and hiding a target of the user's.
ResultAll<TargetFile> parse_target_file(const TargetPlace& place, const std::string& text,
                                        const TargetFolders& folders);
ResultAll<TargetFile> read_target_file(const TargetPlace& place, const TargetFolders& folders);

}  // namespace trainctl::spec
