// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>

#include "format/paths.hpp"
#include "host/supervisor/log_clock.hpp"
#include "host/supervisor/reactor.hpp"

namespace trainctl::host {

/// Follows the logs of all ranks of an attempt: when each had which size (LogClock), and when the attempt last gave a
/// sign of life: a log grew, or the metrics that its scripts write. A log that is quiet costs nothing: the reactor
/// wakes us when it changes.
class LogWatch {
 public:
  /// The logs of the ranks `first` to `first + ranks - 1`.
  LogWatch(Reactor& reactor, const format::AttemptPaths& attempt, int first, int ranks);
  ~LogWatch();
  LogWatch(const LogWatch&) = delete;
  LogWatch& operator=(const LogWatch&) = delete;

  /// The ranks run: every log is due.
  void begin();
  /// Looks at what is due.
  void tick(std::uint64_t now);
  /// Looks at every log and at the metrics; true when anything had grown.
  bool look(std::uint64_t now);
  [[nodiscard]] std::uint64_t last_growth() const;
  [[nodiscard]] std::uint64_t next_deadline() const;

 private:
  struct Entry {
    LogClock clock;
    int watch = -1;
  };
  void tick(Entry& entry, std::uint64_t now);
  bool look_at_metrics(std::uint64_t now);
  Reactor& reactor_;
  std::deque<Entry> logs_;  ///< the handlers hold addresses
  std::filesystem::path metrics_;
  std::uint64_t metrics_size_ = 0;
  std::uint64_t metrics_looked_;
  std::uint64_t metrics_growth_ = 0;
};

}  // namespace trainctl::host
