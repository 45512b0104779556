// SPDX-License-Identifier: Apache-2.0
#include "cli/signals.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstring>

#include "base/clock.hpp"

namespace trainctl::cli {

SignalInbox::SignalInbox() {
  sigset_t wanted{};
  sigemptyset(&wanted);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) {
    struct sigaction current{};
    if (::sigaction(number, nullptr, &current) == 0 && current.sa_handler == SIG_IGN && number != SIGWINCH) continue;
    sigaddset(&wanted, number);
  }
  ::pthread_sigmask(SIG_BLOCK, &wanted, &before_);
  fd_.reset(::signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC));
}

SignalInbox::~SignalInbox() {
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

int SignalInbox::take() const {
  signalfd_siginfo info{};
  if (::read(fd_.get(), &info, sizeof info) != static_cast<ssize_t>(sizeof info)) return 0;
  return static_cast<int>(info.ssi_signo);
}

bool is_interactive() {
  return ::isatty(STDIN_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1 && ::tcgetpgrp(STDIN_FILENO) == ::getpgrp();
}

int ask_key(const SignalInbox& signals, const char* keys, int timeout_ms) {
  termios before{};
  if (::tcgetattr(STDIN_FILENO, &before) != 0) return 0;
  termios raw = before;
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  const std::uint64_t deadline = base::mono_ns() + static_cast<std::uint64_t>(timeout_ms) * 1'000'000U;
  int answer = 0;
  while (answer == 0) {
    const std::uint64_t now = base::mono_ns();
    if (now >= deadline) break;
    std::array<pollfd, 2> waits = {pollfd{STDIN_FILENO, POLLIN, 0}, pollfd{signals.fd(), POLLIN, 0}};
    if (::poll(waits.data(), waits.size(), static_cast<int>((deadline - now) / 1'000'000U) + 1) <= 0) continue;
    if ((waits[1].revents & POLLIN) != 0) {
      const int number = signals.take();
      if (number != 0 && number != SIGWINCH) answer = -1;
    }
    char key = 0;
    if (answer == 0 && (waits[0].revents & (POLLIN | POLLHUP)) != 0) {
      if (::read(STDIN_FILENO, &key, 1) != 1) break;
      if (key != '\0' && std::strchr(keys, key) != nullptr) answer = static_cast<unsigned char>(key);
    }
  }
  ::tcsetattr(STDIN_FILENO, TCSANOW, &before);
  return answer;
}

}  // namespace trainctl::cli
