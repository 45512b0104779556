// SPDX-License-Identifier: Apache-2.0
// What /proc says about processes (proc(5)). Every function takes a vanished process as normal.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl::host {

struct ProcessStat {
  pid_t pid = 0, parent = 0, group = 0, session = 0;
  char state = '?';                                ///< 'Z' and 'X' are dead
  std::uint64_t user = 0, system = 0;              ///< own CPU time in clock ticks
  std::uint64_t child_user = 0, child_system = 0;  ///< of reaped children
  std::uint64_t start_time = 0;                    ///< clock ticks since boot
  std::uint64_t resident = 0;                      ///< bytes
  int threads = 0;
  [[nodiscard]] bool dead() const { return state == 'Z' || state == 'X'; }
};

/// A small file of /proc, /sys or a cgroup, read to its end (their st_size is 0). Empty when it cannot be read.
std::optional<std::string> read_kernel_file(const char* path);
/// The first number in such a file; "max" and unreadable are empty.
std::optional<std::uint64_t> read_kernel_number(const std::string& path);
/// Writes one short value; 0 or errno.
int write_kernel_file(const std::string& path, std::string_view value);
/// The number in `key<space>number` or `key:<spaces>number` lines.
std::optional<std::uint64_t> kernel_field(std::string_view text, std::string_view key);

std::optional<ProcessStat> read_process_stat(pid_t pid);
/// Children of all threads of `pid`, from task/*/children; empty optional when this kernel has no such file.
std::optional<std::vector<pid_t>> child_pids(pid_t pid);
std::vector<pid_t> all_pids();
/// Was the process started with `entry` ("K=V") in its environment? False when it may not be read.
bool started_with(pid_t pid, std::string_view entry);
/// Value of an environment variable the process was started with.
std::optional<std::string> started_variable(pid_t pid, std::string_view name);
/// Short name of the program (comm).
std::string process_name(pid_t pid);

}  // namespace trainctl::host
