// SPDX-License-Identifier: Apache-2.0
#include "host/enter/program.hpp"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "host/linux/process.hpp"
#include "host/waiter/rank_record.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr int kCannotExecute = 126;
constexpr int kNoProgram = 127;
constexpr int kLookMs = 1000;  // where there is no signalfd to wait with

int failed(const std::string& what, int problem) {
  (void)base::write_all(STDERR_FILENO, "trainctl: " + what + ": " + errno_text(problem) + "\n");
  return problem == ENOENT ? kNoProgram : kCannotExecute;
}

/// The program, and with it what it has started where this session is only theirs.
void hang_up(pid_t child) {
  ::kill(::getsid(0) == ::getpid() ? 0 : child, SIGHUP);
}

base::UniqueFd ends_of_children() {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGCHLD);
  ::pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  return base::UniqueFd(::signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK));
}

/// Those at the other ends of stdin, stdout and stderr. A cut connection closes the first two, and the third only when
/// nobody writes to it any more; a pipeline that was ended closes what it had.
class OtherEnds {
 public:
  [[nodiscard]] std::array<pollfd, 4> waits(int also) const {
    return {pollfd{in_, 0, 0}, pollfd{out_, 0, 0}, pollfd{err_, 0, 0}, pollfd{also, POLLIN, 0}};
  }
  /// True once: when nobody hears the program any more.
  bool are_gone(const std::array<pollfd, 4>& polled) {
    constexpr short kGone = POLLERR | POLLHUP | POLLNVAL;
    if ((polled[0].revents & kGone) != 0) in_ = -1;
    if ((polled[1].revents & kGone) != 0) out_ = -1;
    if ((polled[2].revents & kGone) != 0) err_ = -1;
    return out_ < 0 && (in_ < 0 || err_ < 0) && !std::exchange(told_, true);
  }

 private:
  int in_ = STDIN_FILENO;
  int out_ = STDOUT_FILENO;
  int err_ = STDERR_FILENO;
  bool told_ = false;
};

int wait_for(pid_t child, int ends) {
  OtherEnds others;
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    auto waits = others.waits(ends);
    ::poll(waits.data(), waits.size(), ends < 0 ? kLookMs : -1);
    signalfd_siginfo told{};
    while (::read(ends, &told, sizeof told) == sizeof told) continue;
    if (others.are_gone(waits)) hang_up(child);
  }
  return exit_of_status(status).code;
}

}  // namespace

int become_program(std::vector<std::string> argv) {
  std::vector<char*> words;
  words.reserve(argv.size() + 1);
  for (std::string& word : argv) words.push_back(word.data());
  words.push_back(nullptr);
  reset_signals();
  ::execvp(words[0], words.data());
  return failed(argv.front() + " cannot be started", errno);
}

int run_program(const std::vector<std::string>& argv) {
  const base::UniqueFd ends = ends_of_children();
  const pid_t child = ::fork();
  if (child < 0) return failed("cannot start a process", errno);
  if (child == 0) ::_exit(become_program(argv));
  for (const int number : {SIGINT, SIGQUIT, SIGHUP}) (void)std::signal(number, SIG_IGN);
  return wait_for(child, ends.get());
}

}  // namespace trainctl::host
