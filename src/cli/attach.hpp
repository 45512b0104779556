// SPDX-License-Identifier: Apache-2.0
// The screen of a run: logs as they grow, a status line, Ctrl-C, and the exit code. A reader like any other: the run
// does not notice whether anybody watches.
#pragma once

#include <optional>
#include <string>

#include "archive/store.hpp"
#include "cli/output.hpp"
#include "format/paths.hpp"

namespace trainctl::cli {

struct AttachOptions {
  bool may_start = false;       ///< this command created the run or names it: it may begin it
  bool pass_exit_code = false;  ///< `run -- CMD`: the command's own code
  bool summary = true;          ///< the line(s) at the end
  bool follow = true;           ///< false: what is there now, then stop
  bool only_reads = false;      ///< an interrupt ends the reading and nothing else
  bool collect = true;          ///< outputs of a run elsewhere are copied home before the summary
  bool timestamps = false;      ///< lines of the log, each with the time it was written by
  bool environment = false;     ///< the log of building the environment in place of a rank's
  int rank = 0;
  std::optional<int> attempt = {};
  int first_attempt = 0;   ///< with `attempt` unset: show the logs of this one and all later; 0 is the last one
  std::uint64_t from = 0;  ///< first byte of the log to show
  int copy = 1;            ///< first file of a copied log to show, see format::AttemptPaths::log_copy
};

/// Follows the run to its end, or until the person leaves. Returns the exit code of design §8.
int attach(Context& context, const archive::Store& store, const std::string& id, const AttachOptions& options);

/// `code` as `run -- CMD` returns it for this end: the command's own, 128 + n for its signal, 124, 130, 125 for ours.
int pass_through_code(const format::RunPaths& run);

}  // namespace trainctl::cli
