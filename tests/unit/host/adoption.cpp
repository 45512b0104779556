// SPDX-License-Identifier: Apache-2.0
#include "host/adoption.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "base/process.hpp"
#include "format/fold.hpp"
#include "support/catch.hpp"

using namespace trainctl;

TEST_CASE("a supervisor that was killed is not alive, although nobody has reaped it yet") {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::pause();
    ::_exit(0);
  }
  format::RunState state;
  state.lead = {{"machine", base::machine_id()},
                {"boot", base::boot_id()},
                {"pidns", base::pid_namespace()},
                {"pid", pid},
                {"starttime", base::process_start_time(pid).value_or(0)}};
  CHECK(host::lead_is_alive(state));
  ::kill(pid, SIGKILL);
  siginfo_t info{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) == 0);  // NOLINT(misc-include-cleaner)
  CHECK_FALSE(host::lead_is_alive(state));
  ::waitpid(pid, nullptr, 0);
}
