// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/json.hpp"

namespace trainctl::host {

/// The endpoint as the host orders it. Without a run there is none.
struct InsideMlflow {
  std::string run = {}, name = {}, experiment = {}, token = {};
  int rank = 0;
  std::filesystem::path attempt = {};  ///< the attempt's folder, which is mounted at the same place
};

Json to_json(const InsideMlflow& order);
InsideMlflow inside_mlflow_from_json(const Json& json);

/// The MLflow tracking endpoint of a container that does not see the host's network: a socket on the container's own
/// 127.0.0.1, held by its first process, and a child that answers, made when the first client connects.
class InsideEndpoint {
 public:
  /// Listens, and adds the variables of its clients to `environment` ("K=V"), which keeps a MLFLOW_TRACKING_URI it has.
  void open(const InsideMlflow& order, std::vector<std::string>& environment);

  /// To be polled for reading, then serve(); -1: nothing to wait for.
  [[nodiscard]] int waiting_fd() const { return child_ == 0 && !finishing_ ? socket_.get() : -1; }
  void serve();
  /// `pid` has been reaped: perhaps it was the child.
  void reaped(pid_t pid);
  /// No client will come any more. What has come is answered; busy() until then.
  void finish();
  [[nodiscard]] bool busy() const { return child_ != 0; }

 private:
  [[noreturn]] void answer(int control) const;

  InsideMlflow order_ = {};
  base::UniqueFd socket_ = {};
  base::UniqueFd control_ = {};
  pid_t child_ = 0;
  int starts_ = 0;
  bool finishing_ = false;
};

}  // namespace trainctl::host
