// SPDX-License-Identifier: Apache-2.0
#include "base/child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/os/linux/spawn.hpp"
#include "base/process.hpp"
#include "trainctl/result.hpp"

namespace trainctl::base {

namespace {

constexpr std::size_t kKeptErrors = 16U << 10U;
constexpr int kOutPipe = 1U << 20U;  // bytes; the most that the kernel gives to everybody
constexpr int kLookEveryMs = 10;     // without a pidfd

Result<> set_non_blocking(const UniqueFd& fd) {
  if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno("make a pipe", errno);
  return {};
}

/// Its end is sure and nobody waits for it: that takes a millisecond or two, which the end of a command should not.
void reap_later(std::unique_ptr<SpawnedChild> child) {
  struct Killed {
    std::mutex mutex;
    std::vector<std::unique_ptr<SpawnedChild>> children;
  };
  static auto* const killed = new Killed;  // NOLINT: never destroyed, as that would wait
  const std::lock_guard lock(killed->mutex);
  killed->children.push_back(std::move(child));
  std::erase_if(killed->children, [](const auto& one) { return one->reap(WNOHANG); });
}

}  // namespace

ChildProcess::ChildProcess(std::unique_ptr<SpawnedChild> child, UniqueFd in, UniqueFd out, UniqueFd err)
    : child_(std::move(child)), in_(std::move(in)), out_(std::move(out)), err_(std::move(err)) {}

ChildProcess::ChildProcess(ChildProcess&&) noexcept = default;
ChildProcess& ChildProcess::operator=(ChildProcess&&) noexcept = default;

ChildProcess::~ChildProcess() {
  if (!child_) return;
  child_->kill();
  reap_later(std::move(child_));
}

Result<ChildProcess> ChildProcess::start(const Command& command) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return fail_errno("make a socket", errno);
  UniqueFd in(ends[0]);
  const UniqueFd their_in(ends[1]);
  TRY_ASSIGN(Pipe out, make_pipe());
  TRY_ASSIGN(Pipe err, make_pipe());
  // Whoever sends much is not to be woken for every 64 KiB. Less is fine, too.
  (void)::fcntl(out.read.get(), F_SETPIPE_SZ, kOutPipe);
  TRY(set_non_blocking(in));
  TRY(set_non_blocking(out.read));
  TRY(set_non_blocking(err.read));
  TRY_ASSIGN(const pid_t pid, spawn(command, {.in = their_in.get(), .out = out.write.get(), .err = err.write.get()}));
  return ChildProcess(std::make_unique<SpawnedChild>(pid), std::move(in), std::move(out.read), std::move(err.read));
}

const std::string& ChildProcess::errors() {
  std::array<char, 4096> buffer;  // NOLINT: filled by read
  while (err_) {
    const ssize_t got = ::read(err_.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) break;
    if (got == 0) err_.reset();
    errors_.append(buffer.data(), static_cast<std::size_t>(got));
    if (errors_.size() > kKeptErrors) errors_.erase(0, errors_.size() - kKeptErrors);
  }
  return errors_;
}

bool ChildProcess::wait_ms(int timeout_ms) {
  const std::uint64_t begin = mono_ns();
  for (;;) {
    if (child_->reap(WNOHANG)) return true;
    const auto gone = static_cast<std::int64_t>((mono_ns() - begin) / 1'000'000U);
    if (gone >= timeout_ms) return false;
    const auto left = static_cast<int>(timeout_ms - gone);
    pollfd wait{child_->pidfd(), POLLIN, 0};
    ::poll(&wait, 1, wait.fd < 0 ? std::min(left, kLookEveryMs) : left);
  }
}

pid_t ChildProcess::pid() const {
  return child_->pid();
}

int ChildProcess::exit_code() const {
  return child_->exit_code();
}

void ChildProcess::kill() {
  if (child_->ended()) return;
  child_->kill();
  child_->reap(0);
}

}  // namespace trainctl::base
