// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/process.hpp"
#include "base/text.hpp"

extern "C" char** environ;  // NOLINT: POSIX names it

namespace trainctl::base {

namespace {

constexpr int kNotFound = 127;
constexpr int kPollMs = 20;  // without a pidfd

struct Pair {
  UniqueFd read;
  UniqueFd write;
};

Result<Pair> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("make a pipe", errno);
  return Pair{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// A write to a program that has stopped reading must be EPIPE, not the end of this process: SIGPIPE is kept from this
/// thread meanwhile. (A socket pair with MSG_NOSIGNAL would be simpler, but /dev/stdin cannot be opened on a socket.)
class NoSigpipe {
 public:
  NoSigpipe() {
    sigset_t pending;
    sigemptyset(&pending);
    ::sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  NoSigpipe(const NoSigpipe&) = delete;
  NoSigpipe& operator=(const NoSigpipe&) = delete;
  ~NoSigpipe() {
    const int number = errno;
    const struct timespec now{};
    if (!was_pending_) ::sigtimedwait(&pipe_, nullptr, &now);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = number;
  }

 private:
  sigset_t pipe_{};
  sigset_t before_{};
  bool was_pending_ = false;
};

/// Everything the child needs, made before the fork: after it nothing may allocate (other threads may hold locks).
struct Launch {
  std::string program;
  std::vector<char*> argv;
  std::vector<char*> environment;
  const char* directory = nullptr;
  int in = -1;
  int out = -1;
  int err = -1;
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
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // First above 2, so that no dup2 overwrites a descriptor that is still needed (ours may run with 0..2 closed).
  const int in = ::fcntl(launch.in, F_DUPFD_CLOEXEC, 3);
  const int out = ::fcntl(launch.out, F_DUPFD_CLOEXEC, 3);
  const int err = ::fcntl(launch.err, F_DUPFD_CLOEXEC, 3);
  const int report = ::fcntl(launch.report, F_DUPFD_CLOEXEC, 3);
  if (in < 0 || out < 0 || err < 0 || report < 0) report_and_exit(launch.report);
  if (::dup2(in, 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(err, 2) < 0) report_and_exit(report);
  if (launch.directory != nullptr && ::chdir(launch.directory) != 0) report_and_exit(report);
  ::execve(launch.program.c_str(), launch.argv.data(), launch.environment.data());
  report_and_exit(report);
}

/// A child in its own process group. Killed and reaped when it is left.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid), pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    kill_group();
    reap(0);
  }

  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  [[nodiscard]] bool ended() const { return pid_ <= 0; }
  [[nodiscard]] int exit_code() const { return WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_); }

  void kill_group() const {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);  // the group may not exist yet
  }

  /// waitpid with `flags`; true when it has ended.
  bool reap(int flags) {
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

 private:
  pid_t pid_;
  UniqueFd pidfd_;  // -1 with ENOSYS (before Linux 5.3) or in a sandbox: then we poll with a short timeout
  int status_ = 0;
};

/// Reads what there is; closes at the end. Errc::invalid beyond `limit`.
Result<> drain(UniqueFd& fd, std::string& into, std::size_t limit, const std::string& program) {
  std::array<char, 64U << 10U> buffer;  // NOLINT: filled by read
  const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return {};
  if (got < 0) return fail_errno("read the output of " + program, errno);
  if (got == 0) {
    fd.reset();
    return {};
  }
  into.append(buffer.data(), static_cast<std::size_t>(got));
  if (into.size() > limit) {
    return fail(Errc::invalid, program + " printed more than " + format_size(limit) + "; it was stopped");
  }
  return {};
}

void feed(UniqueFd& fd, std::string_view& rest) {
  const NoSigpipe guard;
  const ssize_t done = ::write(fd.get(), rest.data(), rest.size());
  if (done < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (done > 0) rest.remove_prefix(static_cast<std::size_t>(done));
  if (done < 0 || rest.empty()) fd.reset();  // EPIPE: it does not want more
}

/// Our ends of the three streams.
struct Streams {
  UniqueFd in;
  UniqueFd out;
  UniqueFd err;
};

Result<CommandOutput> converse(const Command& command, Child& child, Streams streams) {
  CommandOutput output;
  std::string_view rest = command.input;
  const std::uint64_t start = mono_ns();
  const auto limit_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(command.deadline.count(), 0));
  const std::string& program = command.argv[0];
  // The program's end is not the end of its output, but a grandchild that keeps the pipes open must not hold us: after
  // the end we take what is there already and leave.
  for (;;) {
    const bool ended = child.reap(WNOHANG);
    const std::uint64_t elapsed_ms = (mono_ns() - start) / 1'000'000U;
    if (!ended && elapsed_ms >= limit_ms) {
      child.kill_group();
      return fail(Errc::timeout, program + " did not end within " + format_duration(command.deadline),
                  "it was stopped together with what it had started");
    }
    std::array<struct pollfd, 4> polled{{{streams.in.get(), POLLOUT, 0},
                                         {streams.out.get(), POLLIN, 0},
                                         {streams.err.get(), POLLIN, 0},
                                         {ended ? -1 : child.pidfd(), POLLIN, 0}}};
    const auto left_ms = static_cast<int>(std::min<std::uint64_t>(limit_ms - std::min(limit_ms, elapsed_ms), 60'000));
    const int wait_ms = ended ? 0 : (child.pidfd() < 0 ? std::min(left_ms, kPollMs) : left_ms);
    const int ready = ::poll(polled.data(), polled.size(), wait_ms);
    if (ready < 0 && errno != EINTR) return fail_errno("wait for " + program, errno);
    if (ended && (ready == 0 || (!streams.out && !streams.err))) break;
    if (ready <= 0) continue;
    if (streams.in && polled[0].revents != 0) feed(streams.in, rest);
    if (ended) streams.in.reset();
    if (streams.out && polled[1].revents != 0) TRY(drain(streams.out, output.out, command.max_output, program));
    if (streams.err && polled[2].revents != 0) TRY(drain(streams.err, output.err, command.max_output, program));
  }
  output.exit_code = child.exit_code();
  return output;
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

/// The PATH the program will see is also the one it is looked up on.
std::optional<std::string> path_of(const Command& command) {
  if (!command.environment) return std::nullopt;
  for (const std::string& entry : *command.environment) {
    if (entry.starts_with("PATH=")) return entry.substr(5);
  }
  return std::nullopt;
}

/// Makes the streams: `ours` to talk through, `theirs` for the child.
Result<> open_streams(const Command& command, Streams& ours, Streams& theirs) {
  if (command.input.empty()) {
    TRY_ASSIGN(theirs.in, open_file("/dev/null", O_RDONLY));
  } else {
    TRY_ASSIGN(Pair in, make_pipe());
    if (::fcntl(in.write.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno("make a pipe", errno);
    theirs.in = std::move(in.read);
    ours.in = std::move(in.write);
  }
  if (command.output_fd >= 0) return {};
  TRY_ASSIGN(Pair out, make_pipe());
  TRY_ASSIGN(Pair err, make_pipe());
  ours.out = std::move(out.read);
  theirs.out = std::move(out.write);
  ours.err = std::move(err.read);
  theirs.err = std::move(err.write);
  return {};
}

/// fork with all signals held back in the child: our handlers must not run there.
pid_t fork_child(const Launch& launch) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::fork();
  if (pid == 0) exec_child(launch);
  const int number = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = number;
  if (pid > 0) ::setpgid(pid, pid);  // whichever of the two comes first; it must exist before we may have to kill it
  return pid;
}

}  // namespace

Result<CommandOutput> run_command(const Command& command) {
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
  if (command.environment) {
    launch.environment = pointers(*command.environment);
  } else {
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) launch.environment.push_back(*entry);
    launch.environment.push_back(nullptr);
  }
  Streams ours;
  Streams theirs;
  TRY(open_streams(command, ours, theirs));
  TRY_ASSIGN(Pair report, make_pipe());
  launch.in = theirs.in.get();
  launch.out = command.output_fd < 0 ? theirs.out.get() : command.output_fd;
  launch.err = command.output_fd < 0 ? theirs.err.get() : command.output_fd;
  launch.report = report.write.get();

  const pid_t pid = fork_child(launch);
  if (pid < 0) return fail_errno("start " + launch.program, errno);
  Child child(pid);
  report.write.reset();
  theirs = Streams();
  int number = 0;
  ssize_t got = 0;
  do {
    got = ::read(report.read.get(), &number, sizeof number);
  } while (got < 0 && errno == EINTR);
  if (got == sizeof number) return fail(start_error(command, launch.program, number));
  return converse(command, child, std::move(ours));
}

}  // namespace trainctl::base
