// SPDX-License-Identifier: Apache-2.0
// Starting a helper program: what run_command and ChildProcess share.
#pragma once

#include <sys/types.h>

#include "base/fd.hpp"
#include "base/process.hpp"
#include "trainctl/result.hpp"

namespace trainctl::base {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

/// Both ends close-on-exec.
Result<Pipe> make_pipe();

/// The descriptors that become the program's 0, 1 and 2; the caller keeps them.
struct SpawnStreams {
  int in = -1;
  int out = -1;
  int err = -1;
};

/// Starts `command.argv` (in its directory, with its environment) in a process group of its own, signals as a fresh
/// program expects them. Safe in a process with threads. Returns when the program runs or could not be started:
/// Errc::not_found for one that is missing. `input`, `deadline` and the like of the command are not looked at.
Result<pid_t> spawn(const Command& command, const SpawnStreams& streams);

/// A child in its own process group. Killed with its group and reaped when it is left.
class SpawnedChild {
 public:
  explicit SpawnedChild(pid_t pid);
  SpawnedChild(const SpawnedChild&) = delete;
  SpawnedChild& operator=(const SpawnedChild&) = delete;
  ~SpawnedChild();

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Readable once it has ended; -1 where the kernel has no pidfd (before Linux 5.3, sandboxes).
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  [[nodiscard]] bool ended() const { return pid_ <= 0; }
  [[nodiscard]] int exit_code() const;  ///< 128 + n for a signal

  void kill_group() const;
  /// Only the program itself: what it left behind on purpose (a daemon) goes on.
  void kill() const;
  /// waitpid with `flags`; true when it has ended.
  bool reap(int flags);

 private:
  pid_t pid_;
  UniqueFd pidfd_;
  int status_ = 0;
};

}  // namespace trainctl::base
