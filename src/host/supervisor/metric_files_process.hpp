// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/metrics/file_tailer.hpp"
#include "host/supervisor/controlled_child.hpp"

namespace trainctl::host {

/// The child that reads metric files which the script writes (TensorBoard, Chainer, Lightning). It is made a second
/// after the start, so that short runs do not pay for it; when a run ends before, the supervisor looks whether there is
/// such a file at all.
class MetricFilesProcess {
 public:
  explicit MetricFilesProcess(Reactor& reactor) : child_(reactor, 60'000 * kMillisecond) {}

  void start(const format::Plan& plan, const format::AttemptPaths& attempt, std::uint64_t now);
  /// Lets it read the files to their ends; busy() until it has, a minute at most.
  void finish(std::uint64_t now);
  void tick(std::uint64_t now);
  [[nodiscard]] bool busy() const { return child_.busy(); }
  [[nodiscard]] std::uint64_t next_deadline() const { return busy() ? child_.next_deadline() : start_at_; }

 private:
  void launch();

  ControlledChild child_;
  std::optional<format::AttemptPaths> attempt_ = {};
  std::vector<FinderRoot> roots_ = {};
  WantedKinds wanted_ = {};
  std::uint64_t started_ = 0;
  std::uint64_t start_at_ = kNever;
};

}  // namespace trainctl::host
