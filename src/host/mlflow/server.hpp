// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "trainctl/result.hpp"

namespace trainctl::host {

struct MlflowServerOptions {
  int listen_fd = -1;   ///< listening, non-blocking
  int control_fd = -1;  ///< the server returns when its writers have closed it
  std::string token = {};
  std::string run = {}, name = {}, experiment = {};
  int rank = 0;                                  ///< whose calls these are; 0 where all ranks share an endpoint
  std::filesystem::path metrics_directory = {};  ///< of mlflow-r<rank>.jsonl, whose one writer this is
  std::filesystem::path outputs = {};            ///< where artifacts go
  std::function<void(std::string_view)> warn = {};
};

/// Main loop of the process that answers MLflow clients. What an earlier process of the attempt had recorded is read
/// first. At most 64 connections are served at a time, others wait in the backlog; a JSON body has at most 1 MiB,
/// artifacts go to their files as they come. A full disk is said once and costs what could not be written, never an
/// answer: clients repeat failed calls for minutes.
Result<> run_mlflow_server(const MlflowServerOptions& options);

}  // namespace trainctl::host
