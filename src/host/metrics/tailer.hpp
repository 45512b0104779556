// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "host/metrics/patterns.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

struct PatternLog {
  std::filesystem::path path;  ///< need not exist yet
  int rank = 0;
};

struct PatternTailerOptions {
  std::vector<PatternLog> logs = {};
  PatternSet patterns = {};
  std::filesystem::path metrics_directory = {};  ///< attempts/<n>/metrics; made when there is something to write
  /// The read end of a pipe. When its writers have closed it, or a byte comes, the logs are read to their ends and the
  /// tailer returns. -1: read to the ends now and return.
  int control_fd = -1;
  bool poll_only = false;  ///< no inotify; also where the logs lie on a network file system
  std::chrono::milliseconds poll_interval = std::chrono::milliseconds(250);
  std::function<void(std::string_view)> warn = {};  ///< each thing once
};

/// Main loop of the process that finds metrics in growing logs, until told to stop. Writes
/// metrics/pattern-r<rank>.jsonl and beside it pattern-r<rank>.cursor, lines
/// {"type":"cursor","offset":N,"points":P,"step":S}: the first N bytes of the log are done, and P bytes of the metrics
/// file come from them. Killed at any time and started again it goes on there: the points that are in the file behind P
/// are those of the first lines behind N, so exactly that many are left out. A log that became shorter than N was cut
/// by its script and is read from its start. A full disk is waited out (said once); the error is returned when it is
/// still full at the end.
Result<> run_pattern_tailer(const PatternTailerOptions& options);

}  // namespace trainctl::host
