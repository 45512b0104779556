// SPDX-License-Identifier: Apache-2.0
// Ctrl-C and its relatives as file descriptor events while a command waits.
#pragma once

#include <csignal>

#include "base/fd.hpp"

namespace trainctl::cli {

/// While alive, SIGINT, SIGTERM, SIGHUP and SIGWINCH arrive at fd() instead of ending the program. A signal that was
/// ignored when we started (nohup) stays ignored.
class SignalInbox {
 public:
  SignalInbox();
  SignalInbox(const SignalInbox&) = delete;
  SignalInbox& operator=(const SignalInbox&) = delete;
  ~SignalInbox();
  [[nodiscard]] int fd() const { return fd_.get(); }
  /// The next signal that arrived; 0 when there is none.
  [[nodiscard]] int take() const;

 private:
  base::UniqueFd fd_;
  sigset_t before_{};
};

/// True when a person sits there: stdin and stderr are terminals and we are their foreground process group.
bool is_interactive();

/// Waits for one key of `keys` on the terminal for at most `timeout_ms`; 0 when the time is over, -1 for another
/// Ctrl-C.
int ask_key(const SignalInbox& signals, const char* keys, int timeout_ms);

}  // namespace trainctl::cli
