// SPDX-License-Identifier: Apache-2.0
// Where the MLflow endpoint of a run is, and how its clients learn that.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"

namespace trainctl::host {

inline constexpr const char* kMlflowUri = "MLFLOW_TRACKING_URI";

/// A fresh secret for one attempt.
std::string new_mlflow_token();

/// Listens on 127.0.0.1, non-blocking; port 0 is any free one. Not open when the port is taken.
base::UniqueFd listen_on_loopback(int port);

/// 0 when it has none.
int port_of(int fd);

struct MlflowClientFacts {
  int port = 0;
  std::string run = {};
  std::string token = {};
  /// What the client's surroundings set already; "" for nothing.
  std::function<std::string(const char* name)> look_up = {};
};

/// The variables with which a client finds the endpoint; where a proxy is set, it is told to leave 127.0.0.1 alone.
std::vector<std::pair<std::string, std::string>> mlflow_variables(const MlflowClientFacts& facts);

}  // namespace trainctl::host
