// SPDX-License-Identifier: Apache-2.0
// The processes of one attempt on this node: started through waiters of ours, or adopted from a dead supervisor.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "format/paths.hpp"
#include "host/supervisor/reactor.hpp"
#include "host/waiter/rank_record.hpp"
#include "host/waiter/waiter.hpp"

namespace trainctl::host {

struct Rank {
  int number = 0;
  RankRecord record;
  pid_t waiter = 0;                 ///< our child; 0 when it was adopted or has ended
  bool waiter_clean = false;        ///< it ended by itself, or with its boot: its tree is empty
  bool orphaned = false;            ///< our waiter was killed: the rank is our child now
  bool running = false;             ///< exec succeeded
  std::optional<std::string> lost;  ///< gone without an exit line, and why we know
  base::UniqueFd report;
  base::UniqueFd pidfd;         ///< of an adopted rank
  base::UniqueFd waiter_pidfd;  ///< of its waiter

  [[nodiscard]] bool settled() const { return record.exit || lost; }
};

class RankSet {
 public:
  /// Ranks `first` to `first + count - 1` of the run are this node's.
  RankSet(Reactor& reactor, format::AttemptPaths attempt, int first, int count);
  ~RankSet();
  RankSet(const RankSet&) = delete;
  RankSet& operator=(const RankSet&) = delete;

  /// Reads the rank files that are there and watches what still lives.
  Result<> adopt();
  /// True when some rank has no file, so that start() has something to do.
  [[nodiscard]] bool unstarted() const;
  /// Forks a waiter for every rank without a file; `launches` has one entry a rank, in order.
  void start(const std::vector<RankLaunch>& launches);
  /// Makes sure that no rank without a file starts any more.
  void fence();

  /// Looks at adopted ranks; due at next_poll().
  void poll(std::uint64_t now);
  /// Takes in what the waiters have reported by now.
  void hear();
  [[nodiscard]] std::uint64_t next_poll() const;
  void on_orphan(pid_t pid, int status);

  [[nodiscard]] const std::vector<Rank>& ranks() const { return ranks_; }
  [[nodiscard]] bool any_running() const;
  [[nodiscard]] bool settled() const;  ///< every rank has an exit, or is lost, or was never started
  /// Settled, every waiter is gone; the tree may still hold processes when a waiter was killed (see trees_clean).
  [[nodiscard]] bool waiters_gone() const;
  [[nodiscard]] bool trees_clean() const;
  /// Largest resident set of a process of ours that has ended, in bytes.
  [[nodiscard]] std::uint64_t memory_peak() const { return memory_peak_; }
  [[nodiscard]] std::vector<pid_t> waiter_pids() const;

 private:
  void fork_waiter(Rank& rank, RankLaunch launch);
  void on_report(Rank& rank);
  void on_waiter_exit(Rank& rank, int status, std::uint64_t peak);
  void reread(Rank& rank);
  void watch_adopted(Rank& rank);
  void judge_adopted(Rank& rank);
  void record_orphan(Rank& rank, const RankExit& exit);
  void forget(base::UniqueFd& fd);

  Reactor& reactor_;
  format::AttemptPaths attempt_;
  std::vector<Rank> ranks_;
  std::string boot_;
  std::uint64_t memory_peak_ = 0;
  std::uint64_t next_poll_ = kNever;
};

}  // namespace trainctl::host
