// SPDX-License-Identifier: Apache-2.0
#include "host/waiter/output.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <string>
#include <utility>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "host/waiter/rank_record.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr unsigned short kRows = 24;
constexpr unsigned short kColumns = 120;  // what progress bars take as the width

Result<base::UniqueFd> child_signals() {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  base::UniqueFd fd(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return fail_errno("make a signalfd", errno);
  return fd;
}

/// posix_openpt and friends; openpty() of libutil would look names up.
Result<std::pair<base::UniqueFd, base::UniqueFd>> open_terminal() {
  base::UniqueFd master(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  int unlock = 0;
  if (!master || ::ioctl(master.get(), TIOCSPTLCK, &unlock) != 0) return fail_errno("open a pseudo terminal", errno);
  unsigned number = 0;
  if (::ioctl(master.get(), TIOCGPTN, &number) != 0) return fail_errno("open a pseudo terminal", errno);
  const std::string name = "/dev/pts/" + std::to_string(number);
  base::UniqueFd slave(::open(name.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave) return fail_errno("open " + name, errno);
  const winsize size{kRows, kColumns, 0, 0};
  ::ioctl(slave.get(), TIOCSWINSZ, &size);
  termios mode{};
  if (::tcgetattr(slave.get(), &mode) == 0) {
    mode.c_oflag &= ~static_cast<tcflag_t>(ONLCR);  // the log holds the script's own bytes
    mode.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    ::tcsetattr(slave.get(), TCSANOW, &mode);
  }
  return std::pair{std::move(master), std::move(slave)};
}

}  // namespace

Result<RankOutput> RankOutput::open(const std::string& via, const std::filesystem::path& log) {
  RankOutput output;
  TRY_ASSIGN(output.log_, base::open_file(log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW));
  if (via == "pipe") {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("make a pipe", errno);
    output.source_.reset(ends[0]);
    output.rank_end_.reset(ends[1]);
  } else if (via == "pty") {
    TRY_ASSIGN(auto ends, open_terminal());
    output.source_ = std::move(ends.first);
    output.rank_end_ = std::move(ends.second);
  } else {
    output.rank_end_ = std::move(output.log_);
    return output;
  }
  ::fcntl(output.source_.get(), F_SETFL, O_NONBLOCK);
  TRY_ASSIGN(output.children_, child_signals());
  return output;
}

/// False at the end of the stream.
bool RankOutput::copy_available() {
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t count = ::read(source_.get(), buffer.data(), buffer.size());
    if (count > 0) {
      // A full disk must not stop the script: the bytes are lost, the run goes on, and its end says so.
      (void)base::write_all(log_.get(), {buffer.data(), static_cast<std::size_t>(count)});
      continue;
    }
    if (count < 0 && errno == EINTR) continue;
    return count < 0 && errno == EAGAIN;
  }
}

RankExit RankOutput::pump_until_exit(pid_t rank) {
  bool open = true;
  for (;;) {
    siginfo_t info{};
    while (::waitid(P_ALL, 0, &info, WEXITED | WNOWAIT | WNOHANG) == 0 && info.si_pid != 0) {
      if (info.si_pid == rank) {
        if (open) copy_available();
        const bool killed = info.si_code != CLD_EXITED;
        return {.code = killed ? 128 + info.si_status : info.si_status, .signal = killed ? info.si_status : 0};
      }
      int status = 0;
      ::waitpid(info.si_pid, &status, 0);
      info = {};
    }
    std::array<pollfd, 2> sources = {pollfd{children_.get(), POLLIN, 0}, pollfd{open ? source_.get() : -1, POLLIN, 0}};
    if (::poll(sources.data(), sources.size(), -1) < 0) continue;
    signalfd_siginfo signal{};
    while (::read(children_.get(), &signal, sizeof signal) > 0) {
    }
    if (sources[1].revents != 0) open = copy_available();
  }
}

void RankOutput::pump_until_childless() {
  bool open = true;
  for (;;) {
    int status = 0;
    pid_t reaped = 0;
    while ((reaped = ::waitpid(-1, &status, WNOHANG)) > 0) {
    }
    if (reaped < 0 && errno == ECHILD) break;
    std::array<pollfd, 2> sources = {pollfd{children_.get(), POLLIN, 0}, pollfd{open ? source_.get() : -1, POLLIN, 0}};
    if (::poll(sources.data(), sources.size(), -1) < 0) continue;
    signalfd_siginfo signal{};
    while (::read(children_.get(), &signal, sizeof signal) > 0) {
    }
    if (sources[1].revents != 0) open = copy_available();
  }
  if (open) copy_available();
}

void attach_output(const std::string& via, int end) {
  if (via == "pty") ::ioctl(end, TIOCSCTTY, 0);
  ::dup2(end, STDOUT_FILENO);
  ::dup2(end, STDERR_FILENO);
}

}  // namespace trainctl::host
