// SPDX-License-Identifier: Apache-2.0
// Linux calls around processes, each with its fallback for kernels from 4.18.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/fd.hpp"

namespace trainctl::host {

/// A pidfd that becomes readable when the process ends; invalid where pidfd_open is missing or the process is gone.
base::UniqueFd open_pidfd(pid_t pid);

/// Closes every descriptor from 3 up but those in `keep`. close_range(2), else /proc/self/fd.
void close_descriptors_except(std::span<const int> keep);

/// Orphaned descendants become our children instead of init's.
void become_subreaper();
void set_process_name(const char* name);

/// /dev/null in place of those of stdin, stdout and stderr that the caller closed: the next file we open would take
/// their number and get what is meant for them.
void fill_standard_descriptors();

void block_all_signals();
/// Every signal to its default action and unblocked: the state a program expects after exec.
void reset_signals();

/// "SIGKILL" for 9, "SIGRTMIN+3" …; "signal 77" for what has no name.
std::string signal_name(int number);
/// 9 for "SIGKILL", "KILL" or "9"; empty when there is none.
std::optional<int> signal_number(std::string_view name);

/// One process of this machine, as /proc/<pid>/stat tells it.
struct ProcessIdentity {
  pid_t pid = 0;
  std::uint64_t start_time = 0;  ///< with boot id and pid it names a process for ever
  friend bool operator==(const ProcessIdentity&, const ProcessIdentity&) = default;
};

/// Alive means: this very process exists and is no zombie.
bool is_alive(const ProcessIdentity& process);

}  // namespace trainctl::host
