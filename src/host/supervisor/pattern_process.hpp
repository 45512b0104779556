// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/fd.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/supervisor/reactor.hpp"

namespace trainctl::host {

/// The child that finds metrics in the logs by metrics.patterns: expressions of users may be slow, the supervisor may
/// not. It dies with its supervisor; the next one starts another, which goes on at the cursor.
class PatternProcess {
 public:
  explicit PatternProcess(Reactor& reactor) : reactor_(reactor) {}
  ~PatternProcess();
  PatternProcess(const PatternProcess&) = delete;
  PatternProcess& operator=(const PatternProcess&) = delete;

  /// Nothing happens when the plan has no patterns.
  void start(const format::Plan& plan, const format::AttemptPaths& attempt);
  /// Lets it read the logs to their ends; busy() until it has, five seconds at most.
  void finish(std::uint64_t now);
  void tick(std::uint64_t now);
  [[nodiscard]] bool busy() const { return child_ != 0; }
  [[nodiscard]] std::uint64_t next_deadline() const { return busy() ? kill_at_ : kNever; }

 private:
  Reactor& reactor_;
  pid_t child_ = 0;
  base::UniqueFd control_;
  std::uint64_t kill_at_ = kNever;
};

}  // namespace trainctl::host
