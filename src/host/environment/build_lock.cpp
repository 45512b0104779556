// SPDX-License-Identifier: Apache-2.0
#include "host/environment/build_lock.hpp"

#include <poll.h>
#include <unistd.h>

#include <charconv>

#include "base/clock.hpp"
#include "base/text.hpp"

namespace trainctl::host {

namespace {

constexpr int kRetryMs = 100;                             // flock has no descriptor to wait on
constexpr std::uint64_t kSayAgainNs = 10'000'000'000ULL;  // a message every 10 s

std::uint64_t number(const std::string& text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string who_builds(const std::filesystem::path& path) {
  const auto text = base::read_range(path, 0, 64);
  const auto words = text ? base::split(base::trim(*text), ' ') : std::vector<std::string>{};
  if (words.size() < 2) return "being built by another process";
  const std::uint64_t since = number(words[1]);
  const std::uint64_t now = base::mono_ns();
  const auto seconds = std::chrono::seconds(now > since ? (now - since) / 1'000'000'000 : 0);
  return "being built by pid " + words[0] + " for " + std::to_string(seconds.count()) + " s";
}

}  // namespace

Result<base::FileLock> acquire_build_lock(const std::filesystem::path& path, const std::string& name,
                                          const EnsureOptions& options) {
  std::uint64_t said = 0;
  for (;;) {
    TRY_ASSIGN(auto lock, base::FileLock::try_acquire(path));
    if (lock) {
      const std::string text = std::to_string(::getpid()) + " " + std::to_string(base::mono_ns()) + "\n";
      if (::ftruncate(lock->fd(), 0) == 0) (void)base::pwrite_all(lock->fd(), text, 0);  // only for the message
      return *std::move(lock);
    }
    const std::uint64_t now = base::mono_ns();
    if (options.progress && (said == 0 || now - said > kSayAgainNs)) {
      options.progress("waiting for the environment " + name + " (" + who_builds(path) + ")");
      said = now;
    }
    pollfd cancel{options.cancel_fd, POLLIN, 0};
    if (::poll(&cancel, 1, kRetryMs) > 0 && cancel.revents != 0) {
      return fail(Errc::canceled, "canceled while waiting for the environment " + name);
    }
  }
}

}  // namespace trainctl::host
