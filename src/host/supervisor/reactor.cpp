// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/reactor.hpp"

#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

/// epoll counts CLOCK_MONOTONIC, our deadlines go on through suspend: look again at least this often.
constexpr int kLongestWaitMs = 60'000;

}  // namespace

Result<std::unique_ptr<Reactor>> Reactor::create() {
  std::unique_ptr<Reactor> reactor(new Reactor);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  ::pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  reactor->poll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  reactor->signals_.reset(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!reactor->poll_ || !reactor->signals_) return fail_errno("set up the event loop", errno);
  Reactor* self = reactor.get();
  reactor->watch(reactor->signals_.get(), [self] { self->read_signals(); });
  return reactor;
}

Reactor::~Reactor() = default;

void Reactor::add(std::unique_ptr<Supervised> run) {
  runs_.push_back(std::move(run));
}

void Reactor::watch(int fd, FdHandler handler, bool writable) {
  epoll_event event{};
  event.events = EPOLLIN;
  if (writable) event.events |= EPOLLOUT;
  event.data.fd = fd;
  const bool known = fds_.contains(fd);
  fds_[fd] = std::make_shared<FdHandler>(std::move(handler));
  ::epoll_ctl(poll_.get(), known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
}

void Reactor::unwatch(int fd) {
  if (fds_.erase(fd) > 0) ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void Reactor::on_child(pid_t pid, ChildHandler handler) {
  children_[pid] = std::move(handler);
}

int Reactor::watch_path(const std::string& path, std::uint32_t mask, ChangeHandler handler) {
  if (!changes_ && !changes_tried_) {
    changes_tried_ = true;  // the limit of instances per user is small (128): without one the callers look themselves
    changes_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (changes_) watch(changes_.get(), [this] { read_changes(); });
  }
  if (!changes_) return -1;
  const int watch = ::inotify_add_watch(changes_.get(), path.c_str(), mask);
  if (watch >= 0) paths_[watch] = std::make_shared<ChangeHandler>(std::move(handler));
  return watch;
}

void Reactor::unwatch_path(int watch) {
  if (watch >= 0 && paths_.erase(watch) > 0) ::inotify_rm_watch(changes_.get(), watch);
}

void Reactor::on_signal(int number, std::function<void()> handler) {
  signal_handlers_[number] = std::move(handler);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  for (const auto& [signal, unused] : signal_handlers_) sigaddset(&mask, signal);
  ::pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  ::signalfd(signals_.get(), &mask, SFD_CLOEXEC | SFD_NONBLOCK);
}

void Reactor::read_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) > 0) {
    const auto found = signal_handlers_.find(static_cast<int>(info.ssi_signo));
    if (found != signal_handlers_.end()) found->second();
  }
  reap();
}

void Reactor::read_changes() {
  alignas(inotify_event) std::array<char, 4096> buffer{};
  for (;;) {
    const ssize_t count = ::read(changes_.get(), buffer.data(), buffer.size());
    if (count <= 0) return;
    for (ssize_t at = 0; at < count;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      const auto found = paths_.find(event->wd);
      if (found == paths_.end()) continue;
      const auto handler = found->second;
      if ((event->mask & IN_IGNORED) != 0) {
        paths_.erase(found);
        continue;
      }
      (*handler)(event->mask, event->len > 0 ? std::string(event->name) : std::string());
    }
  }
}

void Reactor::reap() {
  struct Ended {
    pid_t pid;
    int status;
    std::uint64_t peak;
  };
  std::vector<Ended> known, orphans;
  int status = 0;
  rusage usage{};
  for (pid_t pid = ::wait4(-1, &status, WNOHANG, &usage); pid > 0; pid = ::wait4(-1, &status, WNOHANG, &usage)) {
    const auto peak = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
    (children_.contains(pid) ? known : orphans).push_back({pid, status, peak});
  }
  // A waiter and its rank may be reaped together: hear of the waiter first, it says whose the rank was.
  for (const Ended& child : known) {
    auto handler = std::move(children_.extract(child.pid).mapped());
    handler(child.status, child.peak);
  }
  for (const Ended& child : orphans) {
    for (const auto& run : runs_) run->on_orphan(child.pid, child.status);
  }
}

int Reactor::timeout_ms(std::uint64_t now) const {
  std::uint64_t next = kNever;
  for (const auto& run : runs_) next = std::min(next, run->next_deadline());
  if (next <= now) return 0;
  const std::uint64_t wait = (next - now + kMillisecond - 1) / kMillisecond;
  return static_cast<int>(std::min<std::uint64_t>(wait, kLongestWaitMs));
}

void Reactor::dispatch(int timeout) {
  std::array<epoll_event, 32> ready{};
  const int count = ::epoll_wait(poll_.get(), ready.data(), static_cast<int>(ready.size()), timeout);
  for (int i = 0; i < count; ++i) {
    const auto found = fds_.find(ready[static_cast<std::size_t>(i)].data.fd);
    if (found == fds_.end()) continue;
    const auto handler = found->second;  // it may unwatch itself
    (*handler)();
  }
}

void Reactor::loop() {
  for (std::size_t i = 0; i < runs_.size(); ++i) runs_[i]->start();
  for (;;) {
    const std::uint64_t now = base::mono_ns();
    for (const auto& run : runs_) {
      if (!run->done()) run->on_time(now);
    }
    std::erase_if(runs_, [](const auto& run) { return run->done(); });
    if (runs_.empty()) return;
    dispatch(timeout_ms(base::mono_ns()));
  }
}

}  // namespace trainctl::host
