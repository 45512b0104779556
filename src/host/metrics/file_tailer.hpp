// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "host/metrics/file_finder.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

struct FileTailerOptions {
  std::vector<FinderRoot> roots = {};
  WantedKinds wanted = {};
  base::WallTime since = {};                     ///< of older files nothing is taken
  std::filesystem::path metrics_directory = {};  ///< attempts/<n>/metrics
  /// The read end of a pipe, as in PatternTailerOptions. -1: read what is there and return.
  int control_fd = -1;
  std::chrono::milliseconds interval = std::chrono::seconds(1);
  std::function<void(std::string_view)> warn = {};  ///< each thing once
};

/// Main loop of the process that reads metric files which scripts write (FoundKind), until told to stop. Writes
/// metrics/tensorboard-r0.jsonl, chainer-r0.jsonl and lightning-r0.jsonl with their cursors (source_points.hpp); killed
/// and started again it goes on there. A look takes 0.5 % of the time at most: in large trees they become rarer.
Result<> run_file_tailer(const FileTailerOptions& options);

}  // namespace trainctl::host
