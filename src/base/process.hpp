// SPDX-License-Identifier: Apache-2.0
// Short helper programs (git, uv, nvidia-smi): start, feed, read, with a deadline of ours. Not for training processes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::base {

struct Command {
  std::vector<std::string> argv;  ///< argv[0] is looked up on PATH unless it has a slash
  std::optional<std::filesystem::path> directory = {};
  std::optional<std::vector<std::string>> environment = {};  ///< "K=V"; unset = ours
  std::string input = {};                                    ///< stdin; empty = /dev/null
  std::chrono::milliseconds deadline = std::chrono::seconds(30);
  std::size_t max_output = 64U << 20U;  ///< of each stream; more is an error
  int output_fd = -1;                   ///< >= 0: stdout and stderr go here instead of being captured
};

struct CommandOutput {
  int exit_code = 0;  ///< 128 + n for a signal
  std::string out;
  std::string err;
};

/// Runs to the end. The deadline kills the process group and is Errc::timeout; a program that is missing is
/// Errc::not_found.
Result<CommandOutput> run_command(const Command& command);

/// Absolute path of `program` on `path` (PATH when empty); relative and world-writable PATH entries are skipped.
std::optional<std::filesystem::path> find_program(const std::string& program, std::optional<std::string> path = {});

/// Environment variable of this process, empty optional when unset.
std::optional<std::string> get_env(const char* name);

/// Start time of a process: field 22 of /proc/<pid>/stat (clock ticks since boot). With boot id and pid it identifies a
/// process for ever. Empty when there is none.
std::optional<std::uint64_t> process_start_time(pid_t pid);

}  // namespace trainctl::base
