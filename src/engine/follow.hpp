// SPDX-License-Identifier: Apache-2.0
// Watching a run is copying its growth: an incremental reader of one run folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

struct FollowOptions {
  int rank = 0;
  std::optional<int> attempt = {};  ///< unset: the last one, and each newer one as it begins
  int first_attempt = 0;            ///< with `attempt` unset: begin with this one; 0 is the last one
  std::uint64_t from = 0;           ///< offset in the first attempt's log, or in its `copy`
  int copy = 1;                     ///< begin with this one of format::AttemptPaths::log_copy
  bool logs = true;
  bool environment = false;  ///< the log of building the environment, which is over when the ranks start
};

/// Log bytes that grew: [offset, offset + size) of the log of `attempt`.
struct LogRange {
  int attempt = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  int fd = -1;    ///< the open log, valid until the next call of `poll_growth`
  int epoch = 1;  ///< one more each time the log began anew: its script truncated it, or its copy has another file
  std::filesystem::path path = {};
};

struct Growth {
  std::vector<LogRange> logs;  ///< in order
  bool state_changed = false;  ///< `state()` is new
  bool finished = false;       ///< the run ended and everything was handed out
};

/// Follows one run folder. Single-threaded; wait for `fd()` to become readable or for `wait_ms()` to pass (network file
/// systems have no inotify, and it is not worth its cost for the shortest runs), then call `poll_growth`.
class Follower {
 public:
  static Result<Follower> open(const format::RunPaths& run, const FollowOptions& options);

  /// Reads what grew since the last call. Hands out at most 8 MiB of log a call.
  Result<Growth> poll_growth();
  [[nodiscard]] const format::RunState& state() const { return state_; }
  [[nodiscard]] int fd() const { return inotify_.get(); }  ///< -1 = none: poll(2) ignores it
  [[nodiscard]] int wait_ms() const;
  /// The last `size` bytes of a range that was handed out could not be read: they are handed out again.
  void give_back(const LogRange& range, std::uint64_t size);
  /// True when the last call left log bytes unread: call again without waiting.
  [[nodiscard]] bool more() const { return more_; }

 private:
  Follower(format::RunPaths run, FollowOptions options) : run_(std::move(run)), options_(options) {}
  void grow_up();
  bool watch();
  void drain_notifications();
  Result<bool> read_state();
  Result<> read_log(Growth& growth);
  Result<> open_log();
  std::uint64_t look_at_log();
  [[nodiscard]] std::optional<std::uint64_t> final_size() const;
  [[nodiscard]] std::filesystem::path log_path() const;
  [[nodiscard]] bool has_next_copy() const;
  [[nodiscard]] bool is_over() const;
  void begin_log(int attempt, int copy, int epoch);

  format::RunPaths run_;
  FollowOptions options_;
  base::UniqueFd inotify_;
  bool young_ = true;
  std::uint64_t opened_ns_ = 0;
  std::vector<std::string> watched_;
  format::RunLines lines_;
  std::uint64_t events_offset_ = 0;  ///< consumed bytes of the last attempt's events.jsonl
  std::size_t requests_seen_ = 0;
  format::RunState state_;
  bool state_known_ = false;
  int log_attempt_ = 0;
  std::uint64_t log_offset_ = 0;
  std::uint64_t log_size_ = 0;  ///< as last seen
  int log_epoch_ = 1;
  int log_copy_ = 1;
  base::UniqueFd log_;
  bool more_ = false;
};

}  // namespace trainctl::engine
