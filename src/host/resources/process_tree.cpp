// SPDX-License-Identifier: Apache-2.0
#include "host/resources/process_tree.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "host/resources/kill_group.hpp"
#include "host/resources/proc.hpp"

namespace trainctl::host {
namespace {

bool contains(const std::vector<pid_t>& pids, pid_t pid) {
  return std::find(pids.begin(), pids.end(), pid) != pids.end();
}

/// Depth first over the children files; empty optional when the kernel has none (CONFIG_PROC_CHILDREN off).
std::optional<std::vector<pid_t>> walk_children(const std::vector<pid_t>& roots) {
  std::vector<pid_t> found;
  std::unordered_set<pid_t> seen;
  std::vector<pid_t> open(roots.rbegin(), roots.rend());
  while (!open.empty()) {
    const pid_t pid = open.back();
    open.pop_back();
    if (pid <= 0 || !seen.insert(pid).second) continue;
    const auto children = child_pids(pid);
    if (!children) return std::nullopt;
    open.insert(open.end(), children->begin(), children->end());
    found.push_back(pid);
  }
  return found;
}

/// One look at all of /proc: everything below `roots` or marked processes.
std::vector<pid_t> walk_all(const std::vector<pid_t>& roots, std::string_view marker) {
  std::unordered_map<pid_t, std::vector<pid_t>> children;
  std::vector<pid_t> open = roots;
  const uid_t self = ::geteuid();
  for (const pid_t pid : all_pids()) {
    const auto stat = read_process_stat(pid);
    if (!stat) continue;
    children[stat->parent].push_back(pid);
    if (marker.empty() || stat->dead()) continue;
    struct stat status{};
    const bool ours =
        self == 0 || (::stat(("/proc/" + std::to_string(pid)).c_str(), &status) == 0 && status.st_uid == self);
    if (ours && started_with(pid, marker)) open.push_back(pid);
  }
  std::vector<pid_t> found;
  std::unordered_set<pid_t> seen;
  while (!open.empty()) {
    const pid_t pid = open.back();
    open.pop_back();
    if (pid <= 0 || !seen.insert(pid).second) continue;
    found.push_back(pid);
    if (const auto below = children.find(pid); below != children.end())
      open.insert(open.end(), below->second.begin(), below->second.end());
  }
  return found;
}

/// The pids to kill now.
std::vector<pid_t> victims(const KillRequest& request, bool thorough) {
  auto found = find_tree(request.roots, thorough ? std::string_view(request.marker) : std::string_view());
  std::erase_if(found, [&](pid_t pid) { return contains(request.spare, pid); });
  return found;
}

/// Stops every process until a walk finds no new one: then nothing forks any more.
void stop_all(const KillRequest& request, std::uint64_t until) {
  std::unordered_set<pid_t> stopped;
  for (bool grew = true; grew && base::mono_ns() < until;) {
    grew = false;
    for (const pid_t pid : victims(request, true)) {
      if (!stopped.insert(pid).second) continue;
      grew = true;
      ::kill(pid, SIGSTOP);
    }
  }
}

/// Moves the tree into the group until a walk finds nothing outside it.
void gather(const KillRequest& request, const KillGroup& group, std::uint64_t until) {
  std::unordered_set<pid_t> moved;
  for (bool grew = true; grew && base::mono_ns() < until;) {
    grew = false;
    for (const pid_t pid : victims(request, true)) {
      // One that was born inside is in the group already: moving it again is harmless and rare.
      if (moved.insert(pid).second && group.add(pid)) grew = true;
    }
  }
}

}  // namespace

std::vector<pid_t> find_tree(const std::vector<pid_t>& roots, std::string_view marker) {
  std::vector<pid_t> found;
  auto walked = marker.empty() ? walk_children(roots) : std::nullopt;
  found = walked ? std::move(*walked) : walk_all(roots, marker);
  const pid_t self = ::getpid();
  std::erase_if(found, [self](pid_t pid) {
    if (pid == self) return true;
    const auto stat = read_process_stat(pid);
    return !stat || stat->dead();
  });
  return found;
}

int signal_tree(const std::vector<pid_t>& roots, std::string_view marker, int signal, const std::vector<pid_t>& spare) {
  int sent = 0;
  for (const pid_t pid : find_tree(roots, marker)) {
    if (!contains(spare, pid) && ::kill(pid, signal) == 0) ++sent;
  }
  return sent;
}

KillResult kill_tree_until_empty(const KillRequest& request) {
  KillResult result;
  const std::uint64_t until = base::mono_ns() + static_cast<std::uint64_t>(request.deadline.count()) * 1'000'000;
  result.left = victims(request, true);
  if (result.left.empty()) {
    result.empty = true;
    return result;
  }
  const auto group = KillGroup::create(request.name);
  result.means = group ? group->means() : "walk";
  for (int round = 0;; ++round) {
    if (group) {
      gather(request, *group, until);
      group->kill();
    } else {
      stop_all(request, until);
    }
    for (const pid_t pid : victims(request, true)) ::kill(pid, SIGKILL);
    result.left = victims(request, true);
    if (result.left.empty() || base::mono_ns() >= until) break;
    // They die when the kernel gets to them; a pidfd of one would tell, but the floor is a kernel without pidfds.
    ::poll(nullptr, 0, std::min(round + 1, 20));
  }
  result.empty = result.left.empty();
  return result;
}

}  // namespace trainctl::host
