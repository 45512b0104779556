// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "host/supervisor/metric_files_process.hpp"
#include "host/supervisor/mlflow_endpoint.hpp"
#include "host/supervisor/pattern_process.hpp"

namespace trainctl::host {

/// The children that bring in metrics of one attempt: all off the training's path and out of the supervisor. Files of
/// TensorBoard and others, and MLflow, belong to the run as a whole: only node 0 takes them. Patterns are looked for in
/// the logs of every node.
class MetricSources {
 public:
  explicit MetricSources(Reactor& reactor) : patterns_(reactor), files_(reactor), mlflow_(reactor) {}

  /// Before the ranks are launched: what they find in their environment.
  void prepare(const format::Plan& plan, const format::AttemptPaths& attempt, Prepared& prepared) {
    if (attempt.own_node == 0) mlflow_.open(plan, attempt, prepared);
  }
  /// The ranks were started by a supervisor that is dead.
  void adopt(const format::Plan& plan, const format::AttemptPaths& attempt, std::uint64_t now) {
    if (attempt.own_node == 0) mlflow_.reopen(plan, attempt);
    start(plan, attempt, now);
  }
  void start(const format::Plan& plan, const format::AttemptPaths& attempt, std::uint64_t now) {
    patterns_.start(plan, attempt);
    if (attempt.own_node == 0) files_.start(plan, attempt, now);
    finishing_ = false;
    again_at_ = now + 1000 * kMillisecond;
  }
  /// The ranks have ended: all sources read to their ends. busy() until they have.
  void finish(const format::Plan& plan, const format::AttemptPaths& attempt, std::uint64_t now) {
    if (!finishing_) patterns_.start(plan, attempt);
    finishing_ = true;
    again_at_ = kNever;
    patterns_.finish(now);
    files_.finish(now);
    mlflow_.finish(now);
  }
  void tick(const format::Plan& plan, const format::AttemptPaths& attempt, std::uint64_t now) {
    if (now >= again_at_) {
      again_at_ = kNever;
      patterns_.start(plan, attempt);
    }
    patterns_.tick(now);
    files_.tick(now);
    mlflow_.tick(now);
  }
  [[nodiscard]] bool busy() const { return patterns_.busy() || files_.busy() || mlflow_.busy(); }
  [[nodiscard]] std::uint64_t next_deadline() const {
    return std::min({again_at_, patterns_.next_deadline(), files_.next_deadline(), mlflow_.next_deadline()});
  }

 private:
  std::uint64_t again_at_ = kNever;  ///< when to look whether there is something to read after all
  bool finishing_ = true;            ///< also before the first start
  PatternProcess patterns_;
  MetricFilesProcess files_;
  MlflowEndpoint mlflow_;
};

}  // namespace trainctl::host
