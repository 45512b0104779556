// SPDX-License-Identifier: Apache-2.0
// nodes/<k>/rank-<r>.jsonl: what is known about one process of a run. The file's existence is the start fence.
//   start   {rank, machine, boot, pidns, pid, starttime, waiter, waiter_starttime}
//   exit    {code|null, signal|null, cause?, message?, by?}       by: "supervisor" when the waiter was dead
//   fenced  {}                                                    nobody may start this rank any more
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "format/event.hpp"
#include "host/linux/process.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// How a rank ended.
struct RankExit {
  int code = 0;              ///< 128 + n for a signal, as a shell tells it
  int signal = 0;            ///< 0 = it exited by itself
  std::string cause = {};    ///< "" | "start": the program was never executed
  std::string message = {};  ///< why it could not be executed
  bool retryable = false;    ///< a start that failed for no reason of the program's
  std::uint64_t mono_ns = 0;
};

struct RankRecord {
  bool exists = false;
  bool fenced = false;
  bool started = false;
  std::string machine, boot, pidns;
  ProcessIdentity process;
  ProcessIdentity waiter;
  std::optional<RankExit> exit;
};

/// A missing file is a record that does not exist.
Result<RankRecord> read_rank(const std::filesystem::path& path);

/// The `exit` line of a wait status.
RankExit exit_of_status(int wait_status);
Result<> append_exit(format::EventWriter& writer, const RankExit& exit, std::string_view by = {});

/// Creates the file with `fenced`, so that no late waiter starts this rank. False when the file is there already.
Result<bool> fence_rank(const std::filesystem::path& path, int node);

}  // namespace trainctl::host
