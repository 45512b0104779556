// SPDX-License-Identifier: Apache-2.0
// The tiny process between supervisor and rank. It fences the start, starts the rank, records its exit durably, and
// stays as long as anything of the rank's tree lives. It outlives its supervisor.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "host/container/client.hpp"

namespace trainctl::host {

/// Everything a waiter needs to know; made by the supervisor before the fork.
struct RankLaunch {
  int node = 0;
  int rank = 0;
  std::filesystem::path rank_file;
  std::filesystem::path log;
  std::filesystem::path directory;  ///< where the rank starts
  std::vector<std::string> argv;
  std::vector<std::string> environment;      ///< "K=V"
  std::string search_path;                   ///< for argv[0] without a slash
  std::string via = "file";                  ///< file | pipe | pty
  mode_t mask = 022;                         ///< the user's umask: ours is 077
  std::vector<std::string> cgroup_files;     ///< cgroup.procs files the rank joins before it starts
  bool ends_with_supervisor = false;         ///< nobody adopts it: it is killed when its supervisor is gone
  std::optional<ContainerLaunch> container;  ///< the program is started in this container; argv is not used
  int report_fd = -1;                        ///< pipe to the supervisor: one letter per step, see WaiterStep
  std::vector<int> kept_fds;                 ///< admission slot, use of the environment: held until the tree is empty
};

/// What the letters on the report pipe mean. They only wake the supervisor: the rank file is the truth.
enum class WaiterStep : char {
  started = 's',  // the start line is durable
  running = 'r',  // exec succeeded
  exited = 'x',   // the exit line is durable
};

/// Exit codes of a waiter.
inline constexpr int kWaiterDone = 0;
inline constexpr int kWaiterFenced = 75;  // the rank file was there: somebody else starts or started this rank
inline constexpr int kWaiterFailed = 74;  // could not write the rank file; nothing was started

/// The body of the forked child; leaves with _exit. Blocks every signal.
[[noreturn]] void run_waiter(const RankLaunch& launch);

}  // namespace trainctl::host
