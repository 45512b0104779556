// SPDX-License-Identifier: Apache-2.0
// What runs on this machine, from /proc: the tree of a rank, also the parts that left its session.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace trainctl::host {

/// One line of /proc/<pid>/stat.
struct ProcessStatus {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t group = 0;
  pid_t session = 0;
  char state = '?';
  std::uint64_t start_time = 0;  ///< clock ticks since boot
};

std::optional<ProcessStatus> read_process(pid_t pid);
std::vector<ProcessStatus> list_processes();

/// The processes of `all` below any of `roots` (the roots not included), zombies left out.
std::vector<ProcessStatus> descendants(const std::vector<ProcessStatus>& all, std::span<const pid_t> roots);

/// Does the process have a handler of its own for this signal (SigCgt of /proc/<pid>/status)?
bool handles_signal(pid_t pid, int number);

/// Did its parent fork it less than a second ago, and is it still the parent's program? It has the parent's handlers,
/// but may be about to become a program without them: a signal sent now could be that one's end.
bool is_fresh_copy(pid_t pid);

/// Was the process started with this "NAME=value" in its environment? False when it cannot be read.
bool has_variable(pid_t pid, std::string_view assignment);

}  // namespace trainctl::host
