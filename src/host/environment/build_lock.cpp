// SPDX-License-Identifier: Apache-2.0
#include "host/environment/build_lock.hpp"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "host/environment/environment.hpp"
#include "host/linux/process_tree.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

namespace {

constexpr int kRetryMs = 100;                             // flock has no descriptor to wait on
constexpr std::uint64_t kSayAgainNs = 10'000'000'000ULL;  // a message every 10 s

std::uint64_t number(const std::string& text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// The first words of the lock file: builder, its start time, when, where.
struct Builder {
  std::string pid;
  std::uint64_t started = 0, since_ns = 0;
  std::string boot;
};

std::string describe_self() {
  const pid_t pid = ::getpid();
  return std::to_string(pid) + " " + std::to_string(base::process_start_time(pid).value_or(0)) + " " +
         std::to_string(base::mono_ns()) + " " + base::boot_id() + ":" + base::pid_namespace() + "\n";
}

std::optional<Builder> read_builder(const std::filesystem::path& path) {
  const auto text = base::read_range(path, 0, 256);
  const auto words = text ? base::split(base::trim(*text), ' ') : std::vector<std::string>{};
  if (words.size() < 4) return std::nullopt;
  return Builder{.pid = words[0], .started = number(words[1]), .since_ns = number(words[2]), .boot = words[3]};
}

bool is_dead(const Builder& builder) {
  if (builder.boot != base::boot_id() + ":" + base::pid_namespace()) return false;  // not ours to judge
  return base::process_start_time(static_cast<pid_t>(number(builder.pid))) != builder.started;
}

std::string who_builds(const std::optional<Builder>& builder) {
  if (!builder) return "being built by another process";
  if (is_dead(*builder)) return "its builder was killed, a program of it is still running";
  const std::uint64_t now = base::mono_ns();
  const std::uint64_t seconds = now > builder->since_ns ? (now - builder->since_ns) / 1'000'000'000 : 0;
  return "being built by pid " + builder->pid + " for " + std::to_string(seconds) + " s";
}

// The tools inherit the lock, so one that outlived its builder would hold it for as long as it likes.
void end_leftovers(const std::filesystem::path& path) {
  const std::string mark = build_lock_mark(path);
  for (const ProcessStatus& process : list_processes()) {
    if (process.pid > 1 && process.pid != ::getpid() && has_variable(process.pid, mark)) ::kill(process.pid, SIGKILL);
  }
}

}  // namespace

std::string build_lock_mark(const std::filesystem::path& path) {
  return "TRAINCTL_BUILD_LOCK=" + path.string();
}

Result<base::FileLock> acquire_build_lock(const std::filesystem::path& path, const std::string& name,
                                          const EnsureOptions& options) {
  std::uint64_t said = 0;
  for (;;) {
    TRY_ASSIGN(auto lock, base::FileLock::try_acquire(path));
    if (lock) {
      if (::ftruncate(lock->fd(), 0) == 0) (void)base::pwrite_all(lock->fd(), describe_self(), 0);
      return *std::move(lock);
    }
    const auto builder = read_builder(path);
    const std::uint64_t now = base::mono_ns();
    if (options.progress && (said == 0 || now - said > kSayAgainNs)) {
      options.progress("waiting for the environment " + name + " (" + who_builds(builder) + ")");
      said = now;
    }
    if (builder && is_dead(*builder)) end_leftovers(path);
    pollfd cancel{options.cancel_fd, POLLIN, 0};
    if (::poll(&cancel, 1, kRetryMs) > 0 && cancel.revents != 0) {
      return fail(Errc::canceled, "canceled while waiting for the environment " + name);
    }
  }
}

}  // namespace trainctl::host
