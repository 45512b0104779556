// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/rank_set.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "host/supervisor/reactor.hpp"
#include "host/waiter/rank_record.hpp"
#include "host/waiter/waiter.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kPollInterval = 200 * kMillisecond;

RankExit failed_start(std::string message) {
  return {.code = 125, .cause = "start", .message = std::move(message), .retryable = true, .mono_ns = base::mono_ns()};
}

}  // namespace

RankSet::RankSet(Reactor& reactor, format::AttemptPaths attempt, int first, int count)
    : reactor_(reactor), attempt_(std::move(attempt)), boot_(base::boot_id()) {
  ranks_.resize(static_cast<std::size_t>(std::max(count, 0)));
  for (std::size_t i = 0; i < ranks_.size(); ++i) ranks_[i].number = first + static_cast<int>(i);
}

RankSet::~RankSet() {
  for (Rank& rank : ranks_) {
    forget(rank.report);
    forget(rank.pidfd);
    forget(rank.waiter_pidfd);
  }
}

void RankSet::forget(base::UniqueFd& fd) {
  if (fd) reactor_.unwatch(fd.get());
  fd.reset();
}

Result<> RankSet::adopt() {
  for (Rank& rank : ranks_) {
    TRY_ASSIGN(rank.record, read_rank(attempt_.own_rank(rank.number)));
    // Nothing of another boot lives, whoever has its numbers now.
    rank.waiter_clean = rank.record.started && rank.record.boot != boot_;
    if (rank.record.started && !rank.record.exit) watch_adopted(rank);
  }
  return {};
}

bool RankSet::unstarted() const {
  return std::any_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return !rank.record.exists; });
}

void RankSet::start(const std::vector<RankLaunch>& launches) {
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    if (!ranks_[i].record.exists) fork_waiter(ranks_[i], launches.at(i));
  }
}

void RankSet::fork_waiter(Rank& rank, RankLaunch launch) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
    rank.record.exit = failed_start(system_error("make a pipe", errno).message);
    return;
  }
  rank.report.reset(ends[0]);
  const base::UniqueFd write_end(ends[1]);
  launch.report_fd = write_end.get();
  const pid_t pid = ::fork();
  if (pid == 0) run_waiter(launch);
  if (pid < 0) {
    rank.record.exit = failed_start(system_error("start a process", errno).message);
    rank.report.reset();
    return;
  }
  rank.waiter = pid;
  reactor_.watch(rank.report.get(), [this, &rank] { on_report(rank); });
  reactor_.on_child(pid, [this, &rank](int status, std::uint64_t peak) { on_waiter_exit(rank, status, peak); });
}

void RankSet::on_report(Rank& rank) {
  std::array<char, 16> letters{};
  const ssize_t count = ::read(rank.report.get(), letters.data(), letters.size());
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  for (ssize_t i = 0; i < count; ++i) {
    if (letters[static_cast<std::size_t>(i)] == static_cast<char>(WaiterStep::running)) rank.running = true;
  }
  reread(rank);
  if (count <= 0) forget(rank.report);
}

void RankSet::hear() {
  for (Rank& rank : ranks_) {
    if (rank.report) on_report(rank);
  }
}

void RankSet::reread(Rank& rank) {
  if (rank.record.exit || rank.lost) return;
  auto record = read_rank(attempt_.own_rank(rank.number));
  if (record) rank.record = std::move(*record);
}

void RankSet::on_waiter_exit(Rank& rank, int status, std::uint64_t peak) {
  memory_peak_ = std::max(memory_peak_, peak);
  rank.waiter = 0;
  if (rank.report) on_report(rank);  // what it had to say last
  forget(rank.report);
  reread(rank);
  rank.waiter_clean = WIFEXITED(status) && WEXITSTATUS(status) != kWaiterFailed;
  if (WIFEXITED(status) && WEXITSTATUS(status) == kWaiterFenced) {
    // A late waiter of our predecessor was quicker: the rank is its child.
    if (rank.record.started && !rank.record.exit) watch_adopted(rank);
    return;
  }
  if (rank.settled()) return;
  if (!rank.record.started) {
    rank.record.exit = failed_start("the process that starts the program was killed or could not write the run folder");
    return;
  }
  rank.orphaned = true;
}

void RankSet::on_orphan(pid_t pid, int status) {
  for (Rank& rank : ranks_) {
    if (!rank.orphaned || rank.record.process.pid != pid || rank.settled()) continue;
    reread(rank);  // it may have recorded itself that it never started
    if (!rank.settled()) record_orphan(rank, exit_of_status(status));
  }
}

void RankSet::record_orphan(Rank& rank, const RankExit& exit) {
  auto writer = format::EventWriter::open(attempt_.own_rank(rank.number), attempt_.own_node);
  if (writer) (void)append_exit(*writer, exit, "supervisor");
  rank.record.exit = exit;
  rank.record.exit->mono_ns = base::mono_ns();
}

void RankSet::fence() {
  for (Rank& rank : ranks_) {
    if (rank.record.exists || rank.waiter != 0 || !base::exists(attempt_.own_folder())) continue;
    const auto fenced = fence_rank(attempt_.own_rank(rank.number), attempt_.own_node);
    if (fenced && *fenced) {
      rank.record.exists = rank.record.fenced = true;
      rank.record.exit = failed_start("its supervisor was killed before it started every rank");
      continue;
    }
    reread(rank);
    if (rank.record.started && !rank.record.exit) watch_adopted(rank);
  }
}

void RankSet::watch_adopted(Rank& rank) {
  rank.running = true;
  if (rank.record.boot != boot_) {
    rank.lost = "the machine was restarted while it ran";
    return;
  }
  const auto wake = [this] { next_poll_ = 0; };
  rank.pidfd = open_pidfd(rank.record.process.pid);
  rank.waiter_pidfd = open_pidfd(rank.record.waiter.pid);
  for (base::UniqueFd* fd : {&rank.pidfd, &rank.waiter_pidfd}) {
    if (!*fd) continue;
    reactor_.watch(fd->get(), [this, fd, wake] {
      forget(*fd);
      wake();
    });
  }
  next_poll_ = 0;
}

void RankSet::judge_adopted(Rank& rank) {
  const bool rank_alive = is_alive(rank.record.process);
  const bool waiter_alive = is_alive(rank.record.waiter);
  reread(rank);  // after the look: a waiter that is gone has written all it will
  if (rank.settled() || rank_alive || waiter_alive) return;
  rank.lost = "its processes are gone and nobody recorded how they ended";
}

void RankSet::poll(std::uint64_t now) {
  if (now < next_poll_) return;
  next_poll_ = kNever;
  for (Rank& rank : ranks_) {
    const bool adopted = rank.record.started && rank.waiter == 0 && !rank.orphaned && !rank.waiter_clean;
    if (!adopted || rank.lost) continue;
    if (!rank.settled()) judge_adopted(rank);
    if (!rank.settled() || is_alive(rank.record.waiter)) next_poll_ = now + kPollInterval;
  }
}

std::vector<pid_t> RankSet::waiter_pids() const {
  std::vector<pid_t> pids;
  for (const Rank& rank : ranks_) {
    if (rank.waiter != 0)
      pids.push_back(rank.waiter);
    else if (rank.record.started && !rank.waiter_clean && !rank.lost) {
      // Adopted, or its waiter was killed: the rank itself is the root of what we can see.
      pids.push_back(is_alive(rank.record.waiter) ? rank.record.waiter.pid : rank.record.process.pid);
    }
  }
  return pids;
}

std::uint64_t RankSet::next_poll() const {
  return next_poll_;
}

bool RankSet::any_running() const {
  return std::any_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) {
    return rank.running || (rank.record.exit && rank.record.exit->cause != "start");
  });
}

bool RankSet::settled() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) {
    return rank.settled() || rank.record.fenced || (!rank.record.exists && rank.waiter == 0);
  });
}

bool RankSet::waiters_gone() const {
  return settled() && std::all_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) {
           if (rank.waiter != 0) return false;
           return rank.waiter_clean || rank.orphaned || !rank.record.started || rank.lost ||
                  !is_alive(rank.record.waiter);
         });
}

bool RankSet::trees_clean() const {
  return std::all_of(ranks_.begin(), ranks_.end(),
                     [](const Rank& rank) { return rank.waiter_clean || !rank.record.started; });
}

}  // namespace trainctl::host
