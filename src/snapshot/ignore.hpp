// SPDX-License-Identifier: Apache-2.0
// gitignore rules: one file of them, and the stack of files that hold while a tree is walked.
// Semantics are those of gitignore(5); tests compare with `git check-ignore`.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snapshot/glob.hpp"

namespace trainctl::snapshot {

struct IgnoreRule {
  std::string text;  ///< as written, without the line end
  std::size_t line = 0;
  bool negated = false;         ///< "!pattern": takes back
  bool directory_only = false;  ///< "pattern/"
  bool base_name = false;       ///< no slash: matched against the last path component, at any depth
  std::string literal_folder;   ///< the directories a pattern with slashes names without wildcards: "a/b" of "/a/b/*.c"
  Glob glob;
};

/// The rules of one ignore file.
class IgnoreFile {
 public:
  /// `name`: how the file is called in messages. `folder`: where it lies, relative to the root of the walk ("" is the
  /// root). Never fails: what is no rule is skipped, as git does.
  static IgnoreFile parse(std::string name, std::string folder, std::string_view text);

  /// The last rule that matches, or null. `path` is relative to the root of the walk, without a final slash; it must
  /// lie in `folder`.
  [[nodiscard]] const IgnoreRule* match(std::string_view path, bool is_directory) const;

  /// True when a "!rule" names something below `directory` by its literal folders.
  [[nodiscard]] bool takes_back_below(std::string_view directory) const;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] const std::vector<IgnoreRule>& rules() const { return rules_; }

 private:
  std::string name_;
  std::string folder_;
  std::vector<IgnoreRule> rules_;
};

/// Which rule of which file decided.
struct IgnoreMatch {
  const IgnoreFile* file = nullptr;
  const IgnoreRule* rule = nullptr;
  [[nodiscard]] bool decided() const { return rule != nullptr; }
  [[nodiscard]] bool left_out() const { return rule != nullptr && !rule->negated; }
};

/// The files that hold for one directory, outermost first; a deeper file wins. The files must outlive the stack.
class IgnoreStack {
 public:
  void push(const IgnoreFile* file) { files_.push_back(file); }
  void pop() { files_.pop_back(); }
  [[nodiscard]] bool empty() const { return files_.empty(); }
  [[nodiscard]] IgnoreMatch match(std::string_view path, bool is_directory) const;
  [[nodiscard]] bool takes_back_below(std::string_view directory) const;

 private:
  std::vector<const IgnoreFile*> files_;
};

/// Whether one rule text, alone at the root, leaves out `path` or a directory above it (for tests, fuzzing and
/// `explain`).
bool leaves_out(std::string_view rules, std::string_view path, bool is_directory);

}  // namespace trainctl::snapshot
