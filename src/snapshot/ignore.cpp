// SPDX-License-Identifier: Apache-2.0
#include "snapshot/ignore.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "snapshot/glob.hpp"

namespace trainctl::snapshot {
namespace {

/// Spaces at the end do not count unless escaped by a backslash.
std::string_view without_trailing_spaces(std::string_view line) {
  std::size_t keep = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\') {
      if (++i >= line.size()) return line;
      keep = i + 1;
    } else if (line[i] != ' ') {
      keep = i + 1;
    }
  }
  return line.substr(0, keep);
}

std::string literal_folder(std::string_view pattern) {
  const std::size_t wild = pattern.find_first_of("*?[\\");
  const std::string_view literal = pattern.substr(0, wild);
  const std::size_t slash = literal.rfind('/');
  return slash == std::string_view::npos ? std::string() : std::string(literal.substr(0, slash));
}

std::optional<IgnoreRule> parse_rule(std::string_view text, std::size_t line) {
  text = text.substr(0, text.find('\0'));  // git ends a line at a NUL
  if (text.empty() || text.front() == '#') return std::nullopt;
  text = without_trailing_spaces(text);
  IgnoreRule rule;
  rule.text = std::string(text);
  rule.line = line;
  if (text.starts_with('!')) {
    rule.negated = true;
    text.remove_prefix(1);
  }
  if (text.ends_with('/')) {
    rule.directory_only = true;
    text.remove_suffix(1);
  }
  if (text.empty()) return std::nullopt;
  rule.base_name = text.find('/') == std::string_view::npos;
  if (text.starts_with('/')) text.remove_prefix(1);
  rule.literal_folder = literal_folder(text);
  rule.glob = Glob::compile(text, rule.base_name);
  return rule;
}

}  // namespace

IgnoreFile IgnoreFile::parse(std::string name, std::string folder, std::string_view text) {
  IgnoreFile file;
  file.name_ = std::move(name);
  file.folder_ = std::move(folder);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  for (std::size_t line = 1; !text.empty(); ++line) {
    const std::size_t end = text.find('\n');
    std::string_view row = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (row.ends_with('\r')) row.remove_suffix(1);
    if (auto rule = parse_rule(row, line)) file.rules_.push_back(std::move(*rule));
  }
  return file;
}

const IgnoreRule* IgnoreFile::match(std::string_view path, bool is_directory) const {
  const std::string_view inside = folder_.empty() ? path : path.substr(folder_.size() + 1);
  const std::string_view name = path.substr(path.rfind('/') + 1);
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule) {
    if (rule->directory_only && !is_directory) continue;
    if (rule->glob.matches(rule->base_name ? name : inside)) return &*rule;
  }
  return nullptr;
}

bool IgnoreFile::takes_back_below(std::string_view directory) const {
  const std::string_view inside = folder_.empty() ? directory : directory.substr(folder_.size() + 1);
  for (const IgnoreRule& rule : rules_) {
    if (!rule.negated || rule.base_name) continue;
    const std::string_view folder = rule.literal_folder;
    if (folder.starts_with(inside) && (folder.size() == inside.size() || folder[inside.size()] == '/')) return true;
  }
  return false;
}

IgnoreMatch IgnoreStack::match(std::string_view path, bool is_directory) const {
  for (auto file = files_.rbegin(); file != files_.rend(); ++file) {
    if (const IgnoreRule* rule = (*file)->match(path, is_directory)) return {.file = *file, .rule = rule};
  }
  return {};
}

bool IgnoreStack::takes_back_below(std::string_view directory) const {
  for (const IgnoreFile* file : files_) {
    if (file->takes_back_below(directory)) return true;
  }
  return false;
}

bool leaves_out(std::string_view rules, std::string_view path, bool is_directory) {
  const IgnoreFile file = IgnoreFile::parse("rules", "", rules);
  for (std::size_t slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/', slash + 1)) {
    const IgnoreRule* rule = file.match(path.substr(0, slash), true);
    if (rule != nullptr && !rule->negated) return true;
  }
  const IgnoreRule* rule = file.match(path, is_directory);
  return rule != nullptr && !rule->negated;
}

}  // namespace trainctl::snapshot
