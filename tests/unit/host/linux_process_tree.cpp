// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "host/linux/process_tree.hpp"
#include "support/catch.hpp"

using namespace trainctl::host;

namespace {

/// A child that stays what it is (no program) or becomes `sleep`.
pid_t child(const char* program) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  if (program != nullptr) ::execlp(program, program, "60", nullptr);
  ::pause();
  ::_exit(0);
}

/// Looks until the answer is `wanted` or three seconds are over.
bool becomes(pid_t pid, bool wanted) {
  const auto deadline = trainctl::base::mono_ns() + 3'000'000'000;
  while (trainctl::base::mono_ns() < deadline) {
    if (is_fresh_copy(pid) == wanted) return true;
    ::usleep(1000);
  }
  return false;
}

}  // namespace

TEST_CASE("a fork is a fresh copy for a second, or until it becomes another program") {
  const pid_t copy = child(nullptr);
  CHECK(is_fresh_copy(copy));
  const pid_t other = child("sleep");
  CHECK(becomes(other, false));
  CHECK(becomes(copy, false));
  for (const pid_t pid : {copy, other}) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
}
