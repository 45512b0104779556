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
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/os/linux/spawn.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::base {

namespace {

constexpr int kPollMs = 20;  // without a pidfd

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

Result<CommandOutput> converse(const Command& command, SpawnedChild& child, Streams streams) {
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

/// Makes the streams: `ours` to talk through, `theirs` for the child.
Result<> open_streams(const Command& command, Streams& ours, Streams& theirs) {
  if (command.input.empty()) {
    TRY_ASSIGN(theirs.in, open_file("/dev/null", O_RDONLY));
  } else {
    TRY_ASSIGN(Pipe in, make_pipe());
    if (::fcntl(in.write.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno("make a pipe", errno);
    theirs.in = std::move(in.read);
    ours.in = std::move(in.write);
  }
  if (command.output_fd >= 0) return {};
  TRY_ASSIGN(Pipe out, make_pipe());
  TRY_ASSIGN(Pipe err, make_pipe());
  ours.out = std::move(out.read);
  theirs.out = std::move(out.write);
  ours.err = std::move(err.read);
  theirs.err = std::move(err.write);
  return {};
}

}  // namespace

Result<CommandOutput> run_command(const Command& command) {
  Streams ours;
  Streams theirs;
  if (!command.argv.empty()) TRY(open_streams(command, ours, theirs));
  const bool captured = command.output_fd < 0;
  TRY_ASSIGN(const pid_t pid, spawn(command, {.in = theirs.in.get(),
                                              .out = captured ? theirs.out.get() : command.output_fd,
                                              .err = captured ? theirs.err.get() : command.output_fd}));
  SpawnedChild child(pid);
  theirs = Streams();
  return converse(command, child, std::move(ours));
}

}  // namespace trainctl::base
