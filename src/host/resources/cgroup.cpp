// SPDX-License-Identifier: Apache-2.0
#include "host/resources/cgroup.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "host/resources/proc.hpp"

namespace trainctl::host {
namespace {

/// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool octal = text[i] == '\\' && i + 3 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '3';
    if (octal) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool has_word(std::string_view list, std::string_view word) {
  const auto words = base::split(list, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// The path of our group in the hierarchy, from lines "id:controllers:path".
std::optional<std::string> group_path(std::string_view groups, std::string_view controller) {
  for (const std::string& line : base::split(groups, '\n')) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string_view controllers = std::string_view(line).substr(first + 1, second - first - 1);
    const bool match = controller.empty() ? line.starts_with("0::") : has_word(controllers, controller);
    if (match) return line.substr(second + 1);
  }
  return std::nullopt;
}

/// `path` as seen below a mount of the subtree `root` (containers mount their own group only).
fs::path below_mount(const fs::path& mount, std::string_view root, std::string_view path) {
  if (root != "/" && path.starts_with(root)) path.remove_prefix(root.size());
  if (path.find("..") != std::string_view::npos) return mount;  // outside our cgroup namespace: its top is all we see
  while (path.starts_with('/')) path.remove_prefix(1);
  return path.empty() ? mount : mount / path;
}

}  // namespace

std::optional<Cgroup> locate_cgroup(std::string_view groups, std::string_view mountinfo, std::string_view controller) {
  const auto path = group_path(groups, controller);
  if (!path) return std::nullopt;
  for (const std::string& line : base::split(mountinfo, '\n')) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const auto before = base::split(std::string_view(line).substr(0, dash), ' ');
    const auto after = base::split(std::string_view(line).substr(dash + 3), ' ');
    if (before.size() < 5 || after.size() < 3) continue;
    const bool match =
        controller.empty() ? after[0] == "cgroup2" : after[0] == "cgroup" && has_word(after[2], controller);
    if (!match) continue;
    const fs::path mount = unescape(before[4]);
    return Cgroup{controller.empty() ? 2 : 1, mount, below_mount(mount, unescape(before[3]), *path)};
  }
  return std::nullopt;
}

std::optional<Cgroup> find_cgroup_v1(std::string_view controller) {
  const auto groups = read_kernel_file("/proc/self/cgroup");
  const auto mounts = read_kernel_file("/proc/self/mountinfo");
  return groups && mounts ? locate_cgroup(*groups, *mounts, controller) : std::nullopt;
}

std::optional<Cgroup> find_cgroup_v2() {
  return find_cgroup_v1("");
}

std::optional<std::uint64_t> smallest_up(const Cgroup& group, std::string_view file) {
  std::optional<std::uint64_t> smallest;
  for (fs::path folder = group.folder;; folder = folder.parent_path()) {
    if (const auto value = read_kernel_number((folder / file).string()))
      smallest = smallest ? std::min(*smallest, *value) : *value;
    if (folder == group.mount || folder == folder.root_path()) return smallest;
  }
}

}  // namespace trainctl::host
