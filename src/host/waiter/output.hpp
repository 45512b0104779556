// SPDX-License-Identifier: Apache-2.0
// Where the bytes of a rank go: straight into the log file, or through a pipe or pseudo terminal that the waiter pumps.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

#include "base/fd.hpp"
#include "host/waiter/rank_record.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

class RankOutput {
 public:
  /// `via`: file | pipe | pty. The log is opened once, O_APPEND: stdout and stderr share one description.
  static Result<RankOutput> open(const std::string& via, const std::filesystem::path& log);

  [[nodiscard]] int rank_end() const { return rank_end_.get(); }
  void close_rank_end() { rank_end_.reset(); }
  [[nodiscard]] bool pumps() const { return static_cast<bool>(source_); }

  /// Copies until the rank has exited and what it had written is in the log. Leaves the rank a zombie (WNOWAIT).
  RankExit pump_until_exit(pid_t rank);
  /// Goes on for the children that are left; reaps them. Returns when there are none.
  void pump_until_childless();

 private:
  bool copy_available();
  base::UniqueFd log_;
  base::UniqueFd rank_end_;
  base::UniqueFd source_;
  base::UniqueFd children_;  ///< signalfd of SIGCHLD
};

/// In the rank: descriptor `end` becomes stdout and stderr (with a pty the controlling terminal, too); stdin is
/// /dev/null.
void attach_output(const std::string& via, int end);

}  // namespace trainctl::host
