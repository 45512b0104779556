// SPDX-License-Identifier: Apache-2.0
// Which entries of a source tree belong to its snapshot: built-in names, then .trainctlignore, then .amlignore or
// .gitignore.
#pragma once

#include <deque>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "snapshot/ignore.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

/// A decision and who made it. `built_in` is the name of a built-in rule when that decided.
struct Decision {
  bool left_out = false;
  std::string_view built_in = {};
  IgnoreMatch match = {};
  bool descend = false;  ///< left out, but a "!rule" of a .trainctlignore names something below
};

/// The rules along the way down a tree. Paths are relative to the top (the git repository's top directory when the
/// source lies in one, else the source); `prefix()` leads from the top to the source.
class TreeRules {
 public:
  /// Where `.amlignore` lies at the top of the source, it and nested ones hold; else `.gitignore` files do, those of
  /// the directories above up to the repository's top included (unless they leave out the source itself).
  static Result<TreeRules> open(const std::filesystem::path& root, int root_fd);

  /// Reads the ignore files of a directory (those of `names` that are some). `path` is relative to the top.
  Result<> enter(int directory, std::string_view path, bool has_base_file, bool has_own_file);
  void leave();

  /// `inherited`: the directory lies in one that this rule left out (we only look for what is taken back).
  [[nodiscard]] Decision decide(std::string_view path, bool is_directory, const IgnoreMatch& inherited) const;

  [[nodiscard]] const std::string& prefix() const { return prefix_; }  ///< "" or "a/b/"
  [[nodiscard]] const std::string& base_name() const { return base_name_; }

  static constexpr std::string_view kOwnName = ".trainctlignore";

 private:
  Result<const IgnoreFile*> load(int directory, const std::string& name, std::string label, std::string folder);
  Result<> open_parents(const std::filesystem::path& root);

  std::deque<IgnoreFile> files_;  // stable addresses
  IgnoreStack base_;
  IgnoreStack own_;
  struct Level {
    bool base = false;
    bool own = false;
  };
  std::vector<Level> levels_;
  std::string base_name_;
  std::string prefix_;
};

}  // namespace trainctl::snapshot
