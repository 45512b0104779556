// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/stopper.hpp"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "host/linux/process_tree.hpp"
#include "host/resources/process_tree.hpp"
#include "host/supervisor/rank_set.hpp"
#include "host/supervisor/reactor.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kKillInterval = 20 * kMillisecond;
constexpr std::chrono::milliseconds kKillPatience{50};  // the loop has other runs to serve
constexpr std::uint64_t kLeftoverPatience = 100 * kMillisecond;
constexpr std::uint64_t kLeftoverGrace = 5000 * kMillisecond;

std::uint64_t nanoseconds(std::chrono::milliseconds time) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(time.count(), 0)) * kMillisecond;
}

/// Something of its tree may live without being below a waiter.
bool may_have_strays(const Rank& rank) {
  return rank.record.started && !rank.waiter_clean;
}

/// The sessions that ranks began. A number that a process of another age leads by now is not among them.
std::set<pid_t> sessions_of(const std::vector<Rank>& ranks, const std::vector<ProcessStatus>& all) {
  std::set<pid_t> sessions;
  for (const Rank& rank : ranks) {
    if (may_have_strays(rank)) sessions.insert(rank.record.process.pid);
  }
  for (const ProcessStatus& process : all) {
    if (!sessions.contains(process.pid)) continue;
    const bool used_again = std::none_of(ranks.begin(), ranks.end(), [&](const Rank& rank) {
      return rank.record.process == ProcessIdentity{process.pid, process.start_time};
    });
    if (used_again) sessions.erase(process.pid);
  }
  return sessions;
}

}  // namespace

TreeFinder::TreeFinder(std::string run_id, int attempt)
    : run_id_(std::move(run_id)),
      run_marker_("TRAINCTL_RUN_ID=" + run_id_),
      attempt_marker_("TRAINCTL_ATTEMPT=" + std::to_string(attempt)) {}

bool TreeFinder::is_marked(pid_t pid) const {
  return has_variable(pid, run_marker_) && has_variable(pid, attempt_marker_);
}

std::vector<pid_t> TreeFinder::waiters(const std::vector<Rank>& ranks) const {
  std::vector<pid_t> found;
  for (const Rank& rank : ranks) {
    if (rank.waiter != 0) found.push_back(rank.waiter);
    if (rank.waiter == 0 && rank.record.started && !rank.lost && !rank.waiter_clean && is_alive(rank.record.waiter)) {
      found.push_back(rank.record.waiter.pid);
    }
  }
  return found;
}

std::vector<pid_t> TreeFinder::members(const std::vector<Rank>& ranks) const {
  const std::vector<ProcessStatus> all = list_processes();
  const std::set<pid_t> sessions = sessions_of(ranks, all);
  const std::vector<pid_t> spared = waiters(ranks);
  const bool look = std::any_of(ranks.begin(), ranks.end(), [&](const Rank& rank) {
    return may_have_strays(rank) && (rank.waiter == 0 || everywhere_);
  });
  std::vector<pid_t> roots = spared;
  for (const Rank& rank : ranks) {
    if (may_have_strays(rank) && !rank.lost && is_alive(rank.record.process)) roots.push_back(rank.record.process.pid);
  }
  for (const ProcessStatus& process : all) {
    if (process.pid == ::getpid() || process.state == 'Z') continue;
    if (sessions.contains(process.session) || (look && is_marked(process.pid))) roots.push_back(process.pid);
  }
  std::set<pid_t> found(roots.begin(), roots.end());
  for (const ProcessStatus& process : descendants(all, roots)) found.insert(process.pid);
  for (const pid_t waiter : spared) found.erase(waiter);
  found.erase(::getpid());
  return {found.begin(), found.end()};
}

void signal_rank(const Rank& rank, int signal) {
  if (!rank.record.started || rank.settled()) return;
  const pid_t pid = rank.record.process.pid;
  if (!is_alive(rank.record.process)) return;
  if (::kill(-pid, signal) != 0 && errno == ESRCH) ::kill(pid, signal);
  if (signal != SIGCONT && signal != SIGSTOP && signal != SIGTSTP) ::kill(-pid, SIGCONT);
}

void Stopper::begin(int signal, std::chrono::milliseconds grace, std::uint64_t now) {
  if (stopping()) return;
  stage_ = Stage::signal;
  signal_ = signal;
  next_ = now;
  terminate_at_ = now + nanoseconds(grace) / 2;
  kill_at_ = now + nanoseconds(grace);
}

void Stopper::begin_leftovers(std::uint64_t now) {
  if (leftovers_) return;
  leftovers_ = true;
  if (stage_ == Stage::kill) return;
  stage_ = Stage::terminate;
  terminate_at_ = now + kLeftoverPatience;
  kill_at_ = now + kLeftoverGrace;
  next_ = terminate_at_;
}

void Stopper::kill_tree(const std::vector<Rank>& ranks) const {
  KillRequest request;
  request.roots = finder_.members(ranks);
  request.name = finder_.run_id();
  request.spare = finder_.waiters(ranks);
  // One that somebody stopped could not record how its rank ended, and the run would never end.
  for (const pid_t waiter : request.spare) ::kill(waiter, SIGCONT);
  if (request.roots.empty()) return;
  request.deadline = kKillPatience;
  (void)kill_tree_until_empty(request);  // what is left after the patience is met again at the next tick
}

/// Also those that were being started when their run was stopped: unheard they would run on until half the grace.
void Stopper::signal_started(const std::vector<Rank>& ranks) {
  for (const Rank& rank : ranks) {
    if (rank.record.started && signaled_.insert(rank.number).second) send_(rank, signal_);
  }
}

std::size_t Stopper::tick(std::uint64_t now, const std::vector<Rank>& ranks) {
  if (stage_ == Stage::signal && now >= next_) {
    stage_ = Stage::terminate;
    next_ = terminate_at_;
  }
  if (stage_ == Stage::terminate && !leftovers_) signal_started(ranks);
  if (now < next_) return 0;
  std::size_t terminated = 0;
  if (stage_ == Stage::terminate && now >= terminate_at_) {
    if (leftovers_) {
      const std::vector<pid_t> members = finder_.members(ranks);
      terminated = members.size();
      for (const pid_t pid : members) {
        ::kill(pid, SIGTERM);
        ::kill(pid, SIGCONT);
      }
    } else {
      for (const Rank& rank : ranks) send_(rank, SIGTERM);
    }
    stage_ = Stage::kill;
    next_ = kill_at_;
  }
  if (stage_ == Stage::kill && now >= kill_at_) {
    kill_tree(ranks);
    next_ = now + kKillInterval;
  }
  return terminated;
}

}  // namespace trainctl::host
