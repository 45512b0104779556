// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/supervisor/controlled_child.hpp"

namespace trainctl::host {

/// The child that finds metrics in the logs by metrics.patterns: expressions of users may be slow, the supervisor may
/// not. The next supervisor starts another one, which goes on at the cursor.
class PatternProcess {
 public:
  explicit PatternProcess(Reactor& reactor) : child_(reactor, 5000 * kMillisecond) {}

  /// Nothing happens when the plan has no patterns and the real azureml-core was not imported (our azureml module
  /// leaves a file when it gives way; what the SDK prints is then read too).
  void start(const format::Plan& plan, const format::AttemptPaths& attempt);
  /// Lets it read the logs to their ends; busy() until it has, five seconds at most.
  void finish(std::uint64_t now) { child_.finish(now); }
  void tick(std::uint64_t now) { child_.tick(now); }
  [[nodiscard]] bool busy() const { return child_.busy(); }
  [[nodiscard]] std::uint64_t next_deadline() const { return child_.next_deadline(); }

 private:
  ControlledChild child_;
};

}  // namespace trainctl::host
