// SPDX-License-Identifier: Apache-2.0
// A helper program that is spoken to for as long as it runs (ssh, trainctl-runner stdio).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/process.hpp"
#include "trainctl/result.hpp"

namespace trainctl::base {

class SpawnedChild;

/// Its streams are ours, non-blocking. Ended when this object goes: only the program itself, so that what it left
/// behind on purpose (a multiplexing master of ssh) goes on.
class ChildProcess {
 public:
  /// As run_command starts it; `input`, `deadline` and `max_output` of the command are not looked at.
  static Result<ChildProcess> start(const Command& command);
  ChildProcess(ChildProcess&&) noexcept;
  ChildProcess& operator=(ChildProcess&&) noexcept;
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess();

  /// Its stdin, a socket: write to it with send(2) and MSG_NOSIGNAL. -1 once closed.
  [[nodiscard]] int in() const { return in_.get(); }
  [[nodiscard]] int out() const { return out_.get(); }
  void close_in() { in_.reset(); }

  [[nodiscard]] pid_t pid() const;  ///< until it has ended
  /// What it has written to stderr so far, the last 16 KiB of it.
  const std::string& errors();
  /// Waits up to `timeout_ms` for its end; true when it has ended.
  [[nodiscard]] bool wait_ms(int timeout_ms);
  [[nodiscard]] int exit_code() const;  ///< once it has ended; 128 + n for a signal
  /// Ends it at once.
  void kill();

 private:
  ChildProcess(std::unique_ptr<SpawnedChild> child, UniqueFd in, UniqueFd out, UniqueFd err);
  std::unique_ptr<SpawnedChild> child_;
  UniqueFd in_, out_, err_;
  std::string errors_;
};

}  // namespace trainctl::base
