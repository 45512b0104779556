// SPDX-License-Identifier: Apache-2.0
#include "snapshot/tree_rules.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "snapshot/ignore.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxIgnoreFile = 4U << 20U;
constexpr std::array<std::string_view, 4> kNever = {".git", ".venv", "__pycache__", "node_modules"};

std::string_view built_in_rule(std::string_view path, std::string_view prefix) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  for (const std::string_view never : kNever) {
    if (name == never) return never;
  }
  // A run has an outputs/ of its own; the source's would be mistaken for results.
  return path.size() == prefix.size() + name.size() && name == "outputs" ? "outputs/" : std::string_view();
}

/// The text of an ignore file; empty when there is none. Links are not followed, as in git.
Result<std::string> read_ignore_file(int directory, const std::string& name, const std::string& label) {
  const base::UniqueFd fd(::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT || errno == ELOOP) return std::string();
    return fail_errno("read " + label, errno);
  }
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return fail_errno("read " + label, errno);
  if (!S_ISREG(info.st_mode)) return std::string();
  std::string text;
  std::array<char, 16384> block{};
  while (true) {
    const ssize_t count = ::read(fd.get(), block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("read " + label, errno);
    if (count == 0) return text;
    text.append(block.data(), static_cast<std::size_t>(count));
    if (text.size() > kMaxIgnoreFile)
      return fail(Errc::invalid, label + " is larger than 4 MiB", "is it really a list of rules?");
  }
}

std::string without_slash(std::string_view path) {
  return std::string(path.ends_with('/') ? path.substr(0, path.size() - 1) : path);
}

}  // namespace

Result<const IgnoreFile*> TreeRules::load(int directory, const std::string& name, std::string label,
                                          std::string folder) {
  TRY_ASSIGN(const std::string text, read_ignore_file(directory, name, label));
  return &files_.emplace_back(IgnoreFile::parse(std::move(label), std::move(folder), text));
}

Result<> TreeRules::open_parents(const fs::path& root) {
  fs::path top = root;
  while (!base::exists(top / ".git")) {
    if (!top.has_relative_path()) return {};
    top = top.parent_path();
  }
  if (top == root) return {};
  const fs::path inner = root.lexically_relative(top);
  std::string folder;
  std::size_t up = 0;
  for ([[maybe_unused]] const fs::path& part : inner) ++up;
  fs::path directory = top;
  for (const fs::path& part : inner) {
    std::string label;
    for (std::size_t i = 0; i < up; ++i) label += "../";
    const base::UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd) {
      TRY_ASSIGN(const IgnoreFile* file, load(fd.get(), base_name_, label + base_name_, folder));
      base_.push(file);
    }
    folder += (folder.empty() ? "" : "/") + part.string();
    directory /= part;
    --up;
    if (base_.match(folder, true)
            .left_out()) {  // the user chose a source that git ignores: those rules say nothing about it
      base_ = IgnoreStack();
      return {};
    }
  }
  prefix_ = folder + "/";
  return {};
}

Result<TreeRules> TreeRules::open(const fs::path& root, int root_fd) {
  TreeRules rules;
  struct stat info{};
  const bool azure = ::fstatat(root_fd, ".amlignore", &info, AT_SYMLINK_NOFOLLOW) == 0;
  rules.base_name_ = azure ? ".amlignore" : ".gitignore";
  if (!azure) TRY(rules.open_parents(root));
  return rules;
}

Result<> TreeRules::enter(int directory, std::string_view path, bool has_base_file, bool has_own_file) {
  levels_.push_back({.base = has_base_file, .own = has_own_file});
  const std::string shown(path.size() > prefix_.size() ? path.substr(prefix_.size()) : std::string_view());
  if (has_base_file) {
    TRY_ASSIGN(const IgnoreFile* file, load(directory, base_name_, shown + base_name_, without_slash(path)));
    base_.push(file);
  }
  if (has_own_file) {
    const std::string name(kOwnName);
    TRY_ASSIGN(const IgnoreFile* file, load(directory, name, shown + name, without_slash(path)));
    own_.push(file);
  }
  return {};
}

void TreeRules::leave() {
  if (levels_.back().base) base_.pop();
  if (levels_.back().own) own_.pop();
  levels_.pop_back();
}

Decision TreeRules::decide(std::string_view path, bool is_directory, const IgnoreMatch& inherited) const {
  Decision decision;
  decision.built_in = built_in_rule(path, prefix_);
  if (!decision.built_in.empty()) {
    decision.left_out = true;
    return decision;
  }
  if (!own_.empty()) {
    decision.match = own_.match(path, is_directory);
    if (decision.match.decided()) {
      decision.left_out = decision.match.left_out();
      return decision;
    }
  }
  decision.match = inherited.decided() ? inherited : base_.match(path, is_directory);
  decision.left_out = decision.match.left_out();
  decision.descend = decision.left_out && is_directory && own_.takes_back_below(path);
  return decision;
}

}  // namespace trainctl::snapshot
