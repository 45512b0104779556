// SPDX-License-Identifier: Apache-2.0
#include "base/os/linux/spawn.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "base/fd.hpp"
#include "base/process.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

extern "C" char** environ;  // NOLINT: POSIX names it

namespace trainctl::base {

namespace {

constexpr int kNotFound = 127;

/// Everything the child needs, made before the fork: after it nothing may allocate (other threads may hold locks).
struct Launch {
  std::string program;
  std::vector<char*> argv;
  std::vector<char*> environment;
  const char* directory = nullptr;
  SpawnStreams streams;
  int report = -1;  ///< errno of a failed start goes here; closed by a successful exec
};

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (const std::string& text : strings) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

[[noreturn]] void report_and_exit(int fd) {
  const int number = errno;
  // The parent reads either the whole number or nothing; there is nothing else to do about a failed write.
  if (::write(fd, &number, sizeof number) < 0) ::_exit(kNotFound);
  ::_exit(kNotFound);
}

/// In the child: signals and descriptors as a fresh program expects them, then exec. Async-signal-safe calls only.
[[noreturn]] void exec_child(const Launch& launch) {
  ::setpgid(0, 0);
  struct sigaction action{};
  action.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) ::sigaction(number, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  // First above 2, so that no dup2 overwrites a descriptor that is still needed (ours may run with 0..2 closed).
  const int in = ::fcntl(launch.streams.in, F_DUPFD_CLOEXEC, 3);
  const int out = ::fcntl(launch.streams.out, F_DUPFD_CLOEXEC, 3);
  const int err = ::fcntl(launch.streams.err, F_DUPFD_CLOEXEC, 3);
  const int report = ::fcntl(launch.report, F_DUPFD_CLOEXEC, 3);
  if (in < 0 || out < 0 || err < 0 || report < 0) report_and_exit(launch.report);
  if (::dup2(in, 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(err, 2) < 0) report_and_exit(report);
  if (launch.directory != nullptr && ::chdir(launch.directory) != 0) report_and_exit(report);
  ::execve(launch.program.c_str(), launch.argv.data(), launch.environment.data());
  report_and_exit(report);
}

/// vfork, which copies no page tables, with all signals held back: our handlers must not run in the child. It shares
/// our memory until it has executed the program, and only reads there.
pid_t fork_child(const Launch& launch) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::vfork();  // NOLINT(clang-analyzer-security.insecureAPI.vfork): see above
  if (pid == 0) exec_child(launch);
  const int number = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = number;
  if (pid > 0) ::setpgid(pid, pid);  // whichever of the two comes first; it must exist before we may have to kill it
  return pid;
}

/// The PATH the program will see is also the one it is looked up on.
std::optional<std::string> path_of(const Command& command) {
  if (!command.environment) return std::nullopt;
  for (const std::string& entry : *command.environment) {
    if (entry.starts_with("PATH=")) return entry.substr(5);
  }
  return std::nullopt;
}

Error start_error(const Command& command, const std::string& program, int number) {
  if (command.directory) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(*command.directory, ignored)) {
      return system_error("start " + program + " in " + command.directory->string(), number);
    }
  }
  return system_error("start " + program, number);
}

void use_environment(const Command& command, Launch& launch) {
  if (command.environment) {
    launch.environment = pointers(*command.environment);
    return;
  }
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) launch.environment.push_back(*entry);
  launch.environment.push_back(nullptr);
}

}  // namespace

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("make a pipe", errno);
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

SpawnedChild::SpawnedChild(pid_t pid) : pid_(pid), pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}

SpawnedChild::~SpawnedChild() {
  if (pid_ <= 0) return;
  kill_group();
  reap(0);
}

int SpawnedChild::exit_code() const {
  return WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
}

void SpawnedChild::kill() const {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

void SpawnedChild::kill_group() const {
  if (pid_ <= 0) return;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);  // the group may not exist yet
}

bool SpawnedChild::reap(int flags) {
  if (ended()) return true;
  pid_t got = 0;
  do {
    got = ::waitpid(pid_, &status_, flags);
  } while (got < 0 && errno == EINTR);
  if (got == 0) return false;
  if (got < 0) status_ = 0;  // SIGCHLD is ignored in this process: the kernel has thrown the code away
  pid_ = -1;
  return true;
}

Result<pid_t> spawn(const Command& command, const SpawnStreams& streams) {
  if (command.argv.empty() || command.argv[0].empty()) return fail(Errc::invalid, "a command has no program");
  const auto found = find_program(command.argv[0], path_of(command));
  if (!found) {
    return fail(Errc::not_found, "the program " + command.argv[0] + " was not found or cannot be executed",
                "install it, or put its directory on PATH");
  }
  const std::string directory = command.directory ? command.directory->string() : std::string();
  Launch launch;
  launch.program = found->string();
  launch.argv = pointers(command.argv);
  launch.directory = command.directory ? directory.c_str() : nullptr;
  use_environment(command, launch);
  TRY_ASSIGN(Pipe report, make_pipe());
  launch.streams = streams;
  launch.report = report.write.get();

  const pid_t pid = fork_child(launch);
  if (pid < 0) return fail_errno("start " + launch.program, errno);
  report.write.reset();
  int number = 0;
  ssize_t got = 0;
  do {
    got = ::read(report.read.get(), &number, sizeof number);
  } while (got < 0 && errno == EINTR);
  if (got != sizeof number) return pid;
  SpawnedChild(pid).reap(0);
  return fail(start_error(command, launch.program, number));
}

}  // namespace trainctl::base
