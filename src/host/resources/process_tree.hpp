// SPDX-License-Identifier: Apache-2.0
// A run's processes: found, signalled, and killed to the last one.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::host {

/// The live processes below `roots` (the roots themselves included, zombies not), found by their parents; with a
/// `marker`
/// ("TRAINCTL_RUN_ID=<ulid>") also those that carry it in their first environment, whoever adopted them, and their
/// children. Without a marker it costs one small file a thread; with one it looks at every process of ours.
/// The calling process is never in it.
std::vector<pid_t> find_tree(const std::vector<pid_t>& roots, std::string_view marker = {});

/// Sends `signal` to each of the tree but `spare` (the waiters); the number that got it.
int signal_tree(const std::vector<pid_t>& roots, std::string_view marker, int signal,
                const std::vector<pid_t>& spare = {});

struct KillRequest {
  std::vector<pid_t> roots;  ///< waiters and ranks
  std::string marker;        ///< TRAINCTL_RUN_ID=<ulid>
  std::string name;          ///< of the control group made for it: the run's ULID
  std::vector<pid_t> spare;  ///< waiters: walked, not killed (they write the exit line and reap)
  std::chrono::milliseconds deadline = std::chrono::seconds(10);
};
struct KillResult {
  bool empty = false;       ///< nothing is left but `spare`
  std::string means;        ///< "cgroup.kill" | "freezer" | "walk"
  std::vector<pid_t> left;  ///< e.g. in uninterruptible sleep
};

/// SIGKILL to the whole tree until it is empty, however fast it forks. The processes are moved into a fresh control
/// group first (v2 with cgroup.kill, else the v1 freezer: children of the moved are born inside), so nothing slips away
/// between the look and the blow; without a writable one they are stopped (SIGSTOP) until a walk finds no new one.
/// Blocks, up to the deadline. Reaping is the parents' business: the caller's own zombies do not count.
KillResult kill_tree_until_empty(const KillRequest& request);

}  // namespace trainctl::host
