// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/mlflow/server.hpp"
#include "host/supervisor/controlled_child.hpp"
#include "host/supervisor/launch.hpp"

namespace trainctl::host {

/// The MLflow tracking endpoint of one attempt: a socket on 127.0.0.1 that the supervisor holds, and a child that
/// answers, made when the first client connects. A run that does not use MLflow pays for a socket only.
class MlflowEndpoint {
 public:
  explicit MlflowEndpoint(Reactor& reactor) : reactor_(reactor), child_(reactor, 5000 * kMillisecond) {}
  ~MlflowEndpoint() { close(); }
  MlflowEndpoint(const MlflowEndpoint&) = delete;
  MlflowEndpoint& operator=(const MlflowEndpoint&) = delete;

  /// Listens, and adds MLFLOW_TRACKING_URI, MLFLOW_RUN_ID, MLFLOW_EXPERIMENT_ID and MLFLOW_TRACKING_TOKEN to the
  /// variables of the ranks. Nothing happens when the run has a MLFLOW_TRACKING_URI of its own.
  void open(const format::Plan& plan, const format::AttemptPaths& attempt, Prepared& prepared);
  /// The same address again, for ranks that a dead supervisor started.
  void reopen(const format::Plan& plan, const format::AttemptPaths& attempt);

  /// Answers what has come and ends.
  void finish(std::uint64_t now);
  void tick(std::uint64_t now) { child_.tick(now); }
  [[nodiscard]] bool busy() const { return child_.busy(); }
  [[nodiscard]] std::uint64_t next_deadline() const { return child_.next_deadline(); }

 private:
  void await_client();
  void serve();
  void close();
  void describe(const format::Plan& plan, const format::AttemptPaths& attempt);

  Reactor& reactor_;
  ControlledChild child_;
  base::UniqueFd socket_ = {};
  bool watched_ = false;
  int starts_ = 0;
  std::optional<format::AttemptPaths> attempt_ = {};
  MlflowServerOptions options_ = {};
};

}  // namespace trainctl::host
