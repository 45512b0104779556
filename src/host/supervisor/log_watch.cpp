// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/log_watch.hpp"

#include <sys/inotify.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "format/paths.hpp"
#include "host/supervisor/log_clock.hpp"
#include "host/supervisor/reactor.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kLogInterval = 1000 * kMillisecond;  // where inotify is not to be had
constexpr std::uint64_t kLogMissing = 100 * kMillisecond;    // its waiter is about to make it
constexpr std::int64_t kSecond = 1'000'000'000;

}  // namespace

LogWatch::LogWatch(Reactor& reactor, const format::AttemptPaths& attempt, int first, int ranks)
    : reactor_(reactor), metrics_(attempt.metrics()), metrics_looked_(base::mono_ns()) {
  for (int r = first; r < first + ranks; ++r) {
    logs_.push_back({.clock = LogClock(attempt.log(r), attempt.times(r)), .watch = -1});
  }
}

LogWatch::~LogWatch() {
  for (const Entry& entry : logs_) reactor_.unwatch_path(entry.watch);
}

void LogWatch::begin() {
  for (Entry& entry : logs_) entry.clock.look_at(0);
}

void LogWatch::tick(std::uint64_t now) {
  for (Entry& entry : logs_) tick(entry, now);
}

void LogWatch::tick(Entry& entry, std::uint64_t now) {
  LogClock& clock = entry.clock;
  if (now < clock.next_look() || clock.look(now)) return;
  // Quiet: sleep until somebody writes. One event is enough, a flood must not wake us each time.
  if (entry.watch < 0) {
    entry.watch =
        reactor_.watch_path(clock.log(), IN_MODIFY | IN_ONESHOT, [&entry](std::uint32_t mask, const std::string&) {
          if ((mask & IN_MODIFY) == 0) return;
          entry.watch = -1;
          entry.clock.look_at(0);
        });
  }
  if (entry.watch < 0) {
    clock.rest();
    return clock.look_at(now + (base::exists(clock.log()) ? kLogInterval : kLogMissing));
  }
  if (!clock.look(now)) clock.rest();  // nothing came between the look and the watch
}

bool LogWatch::look(std::uint64_t now) {
  bool grown = false;
  for (Entry& entry : logs_) grown = entry.clock.look(now) || grown;
  return look_at_metrics(now) || grown;
}

/// Nobody wakes us for these: their last write tells when they grew, within what we know ourselves.
bool LogWatch::look_at_metrics(std::uint64_t now) {
  std::uint64_t size = 0;
  std::int64_t last_write = 0;
  for (const std::string& name : base::list_directory(metrics_).value_or(std::vector<std::string>())) {
    struct stat status{};
    if (name.starts_with("system-") || ::lstat((metrics_ / name).c_str(), &status) != 0) continue;
    size += static_cast<std::uint64_t>(status.st_size);
    last_write = std::max(last_write, status.st_mtim.tv_sec * kSecond + status.st_mtim.tv_nsec);
  }
  const bool grown = size != std::exchange(metrics_size_, size);
  const std::int64_t wall = std::chrono::nanoseconds(base::wall_now().time_since_epoch()).count();
  const auto longest = static_cast<std::int64_t>(now - std::min(now, metrics_looked_));
  if (grown)
    metrics_growth_ = now - static_cast<std::uint64_t>(std::clamp(wall - last_write, std::int64_t{0}, longest));
  metrics_looked_ = now;
  return grown;
}

std::uint64_t LogWatch::last_growth() const {
  std::uint64_t last = metrics_growth_;
  for (const Entry& entry : logs_) last = std::max(last, entry.clock.last_growth());
  return last;
}

std::uint64_t LogWatch::next_deadline() const {
  std::uint64_t next = kNever;
  for (const Entry& entry : logs_) next = std::min(next, entry.clock.next_look());
  return next;
}

}  // namespace trainctl::host
