// SPDX-License-Identifier: Apache-2.0
// Ends the processes of an attempt: the stop signal to each rank's group, SIGTERM at half the grace, SIGKILL to the
// whole tree at its end, repeated until nothing is left.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "host/supervisor/rank_set.hpp"

namespace trainctl::host {

/// Who belongs to an attempt: found by descent, by session, and (when a waiter was killed) by the marker variables.
class TreeFinder {
 public:
  TreeFinder(std::string run_id, int attempt);
  /// Every process of the ranks' trees; waiters and this process are not among them.
  [[nodiscard]] std::vector<pid_t> members(const std::vector<Rank>& ranks) const;
  [[nodiscard]] std::vector<pid_t> waiters(const std::vector<Rank>& ranks) const;  ///< those that live
  [[nodiscard]] const std::string& run_id() const { return run_id_; }
  /// Whether it has the variables that this attempt gives its programs.
  [[nodiscard]] bool is_marked(pid_t pid) const;
  /// The programs run in containers: what an engine's daemon started is no descendant of ours, but marked.
  void look_everywhere() { everywhere_ = true; }

 private:
  bool everywhere_ = false;
  std::string run_id_;
  std::string run_marker_;
  std::string attempt_marker_;
};

/// To a rank's process group, with SIGCONT so that a stopped one hears it.
void signal_rank(const Rank& rank, int signal);

class Stopper {
 public:
  using Signal = std::function<void(const Rank& rank, int number)>;
  /// `send` reaches the processes of a rank where that is not its process group (the ranks below mpiexec).
  explicit Stopper(TreeFinder finder, Signal send = signal_rank) : finder_(std::move(finder)), send_(std::move(send)) {}

  /// A second call is ignored.
  void begin(int signal, std::chrono::milliseconds grace, std::uint64_t now);
  /// The ranks have ended; what is left of their trees gets SIGTERM after a moment, SIGKILL after five seconds.
  void begin_leftovers(std::uint64_t now);
  [[nodiscard]] bool stopping() const { return stage_ != Stage::idle; }

  /// Does what is due. Returns how many processes of the tree got a first SIGTERM as leftovers (for the warning).
  std::size_t tick(std::uint64_t now, const std::vector<Rank>& ranks);
  [[nodiscard]] std::uint64_t next_deadline() const { return next_; }
  void send(const Rank& rank, int number) const { send_(rank, number); }
  [[nodiscard]] bool tree_empty(const std::vector<Rank>& ranks) const { return finder_.members(ranks).empty(); }
  [[nodiscard]] const TreeFinder& finder() const { return finder_; }

 private:
  enum class Stage { idle, signal, terminate, kill };
  void signal_started(const std::vector<Rank>& ranks);
  void kill_tree(const std::vector<Rank>& ranks) const;
  TreeFinder finder_;
  Signal send_;
  Stage stage_ = Stage::idle;
  bool leftovers_ = false;
  int signal_ = 0;
  std::set<int> signaled_ = {};  ///< numbers of the ranks that were sent the signal
  std::uint64_t next_ = kNever;
  std::uint64_t terminate_at_ = kNever;
  std::uint64_t kill_at_ = kNever;
};

}  // namespace trainctl::host
