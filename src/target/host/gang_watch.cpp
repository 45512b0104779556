// SPDX-License-Identifier: Apache-2.0
#include "target/host/gang_watch.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "target/cancel.hpp"
#include "target/host/gang_files.hpp"
#include "target/host/host_link.hpp"
#include "target/host/host_watch.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

constexpr int kPauseMs = 2000;                  ///< between two tries to reach a host
constexpr int kAskMs = 1000;                    ///< between two questions whether a host rests
constexpr std::chrono::seconds kLastWords{15};  ///< for the other hosts, when the run has ended on the first
constexpr std::chrono::milliseconds kLeaveEvery{100};

/// What all hosts hand over, in turn.
class Meeting {
 public:
  Meeting(EventSink& sink, const std::map<std::string, GangFiles>& files) : sink_(sink), files_(files) {
    for (const auto& [run, its] : files) {
      for (int k = 0; k < its.nodes(); ++k) open_[run].insert(k);
    }
  }

  [[nodiscard]] bool belongs(std::string_view run, std::string_view file, int node) const {
    const auto found = files_.find(std::string(run));
    return found != files_.end() && found->second.node_of(file) == node;
  }

  Result<> append(const Piece& piece, int node) {
    if (!belongs(piece.run, piece.file, node)) return {};
    const std::lock_guard lock(mutex_);
    TRY(sink_.append(piece));
    cursors_[std::string(piece.run)][std::string(piece.file)] = {.have = piece.offset + piece.bytes.size()};
    return {};
  }

  Result<Cursor> mismatch(std::string_view run, std::string_view file, std::uint64_t size, const SourceHash& hash) {
    const std::lock_guard lock(mutex_);
    TRY_ASSIGN(Cursor cursor, sink_.mismatch(run, file, size, hash));
    cursors_[std::string(run)][std::string(file)] = cursor;
    return cursor;
  }

  Result<> observed(std::string_view run, const Json& observation) {
    const std::lock_guard lock(mutex_);
    return sink_.observed(run, observation);
  }

  Result<> current(std::string_view run) {
    const std::lock_guard lock(mutex_);
    return sink_.current(run);
  }

  Result<> missing(std::string_view run) {
    const std::lock_guard lock(mutex_);
    return sink_.missing(run);
  }

  /// This host has given all it has of the run.
  Result<> ended(const std::string& run, int node) {
    const std::lock_guard lock(mutex_);
    return close(run, node);
  }

  /// This host is not waited for any more: the run has ended, and its copy is not whole.
  Result<> give_up(const std::string& run, int node) {
    const std::lock_guard lock(mutex_);
    torn_.insert(run);
    return close(run, node);
  }

  /// Those of `runs` that this host has not given all of, from where the copy stands.
  std::vector<Watched> left(std::span<const Watched> runs, int node) {
    const std::lock_guard lock(mutex_);
    std::vector<Watched> made;
    for (const Watched& run : runs) {
      const auto waiting = open_.find(run.ref.run);
      if (waiting == open_.end() || !waiting->second.contains(node)) continue;
      Watched one{.ref = run.ref, .cursors = {}};
      for (const auto& [file, cursor] : run.cursors) {
        if (belongs(run.ref.run, file, node)) one.cursors[file] = cursor;
      }
      for (const auto& [file, cursor] : cursors_[run.ref.run]) {
        if (belongs(run.ref.run, file, node)) one.cursors[file] = cursor;
      }
      made.push_back(std::move(one));
    }
    return made;
  }

  /// Runs that wait for this host although they have ended on the first.
  std::vector<std::string> kept_waiting(int node) {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> made;
    for (const auto& [run, waiting] : open_) {
      if (waiting.contains(node) && !waiting.contains(0)) made.push_back(run);
    }
    return made;
  }

  /// True when all hosts have given all they have.
  bool await_words(std::chrono::milliseconds most) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, most, [&] { return open_.empty(); });
  }

 private:
  Result<> close(const std::string& run, int node) {
    const auto waiting = open_.find(run);
    if (waiting == open_.end()) return {};
    waiting->second.erase(node);
    if (!waiting->second.empty()) return {};
    open_.erase(waiting);
    changed_.notify_all();
    return torn_.contains(run) ? sink_.current(run) : sink_.ended(run);
  }

  EventSink& sink_;
  const std::map<std::string, GangFiles>& files_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::set<int>> open_;  ///< the hosts of each run that have not given all
  std::set<std::string> torn_;                 ///< runs that some host has not given all of
  std::map<std::string, std::map<std::string, Cursor>> cursors_;
};

/// One host's way into the meeting.
class HostSink final : public EventSink {
 public:
  HostSink(Meeting& meeting, int node) : meeting_(meeting), node_(node) {}
  Result<> append(const Piece& piece) override { return meeting_.append(piece, node_); }
  Result<Cursor> mismatch(std::string_view run, std::string_view file, std::uint64_t size,
                          const SourceHash& hash) override {
    return meeting_.mismatch(run, file, size, hash);
  }
  Result<> gap(std::string_view, std::string_view, std::uint64_t) override { return {}; }
  Result<> observed(std::string_view run, const Json& observation) override {
    return node_ == 0 ? meeting_.observed(run, observation) : Result<>();
  }
  Result<> ended(std::string_view run) override { return meeting_.ended(std::string(run), node_); }
  Result<> current(std::string_view run) override { return node_ == 0 ? meeting_.current(run) : Result<>(); }
  /// The first host decides what there is: another may not have been prepared, and has no more to give then.
  Result<> missing(std::string_view run) override {
    return node_ == 0 ? meeting_.missing(run) : meeting_.ended(std::string(run), node_);
  }

 private:
  Meeting& meeting_;
  int node_ = 0;
};

Result<> watch_once(HostLink& link, std::span<const Watched> runs, int node, Meeting& meeting, const Cancel& cancel,
                    Until until) {
  TRY_ASSIGN(const auto client, link.client(cancel));
  HostSink sink(meeting, node);
  return watch_host(*client, runs, sink, cancel, until);
}

void watch_other(HostLink& link, std::span<const Watched> runs, int node, Meeting& meeting, const Cancel& stop) {
  while (!stop.requested()) {
    const std::vector<Watched> left = meeting.left(runs, node);
    if (left.empty()) return;
    if (watch_once(link, left, node, meeting, stop, Until::ended)) continue;
    for (const std::string& run : meeting.kept_waiting(node)) (void)meeting.give_up(run, node);
    if (stop.wait_ms(kPauseMs)) return;
  }
}

/// Not begun, or between two attempts: nothing of the run is at work there.
bool rests(HostLink& link, const std::string& run, const Cancel& cancel) {
  const auto client = link.client(cancel);
  if (!client) return false;
  const auto found = (*client)->request({{"op", "find"}, {"run", run}}, cancel);
  return found && (found->value("attempt", 0) == 0 || found->value("state", "") == "retrying");
}

/// Whoever missed the end of the run on the first host never writes one: where it rests, one look more has all.
Result<> take_rest(HostLink& link, std::span<const Watched> runs, int node, Meeting& meeting, const Cancel& cancel) {
  std::vector<std::string> resting = meeting.kept_waiting(node);
  std::erase_if(resting, [&](const std::string& run) { return !rests(link, run, cancel); });
  if (resting.empty()) return {};
  TRY(watch_once(link, meeting.left(runs, node), node, meeting, cancel, Until::current));
  for (const std::string& run : resting) TRY(meeting.ended(run, node));
  return {};
}

/// The run has ended on the first host. One that takes no part any more, or never did, has no last words: it is asked,
/// beside who watches it, as it may not answer.
void await_last_words(std::span<const std::shared_ptr<HostLink>> links, std::span<const Watched> runs, Meeting& meeting,
                      const Cancel& cancel, const Cancel& stop) {
  std::vector<std::jthread> asking;
  for (std::size_t k = 1; k < links.size(); ++k) {
    asking.emplace_back([&, k] {
      while (!stop.wait_ms(kAskMs)) (void)take_rest(*links[k], runs, static_cast<int>(k), meeting, stop);
    });
  }
  // Whoever leaves meanwhile is not kept.
  const auto late = std::chrono::steady_clock::now() + kLastWords;
  while (!meeting.await_words(kLeaveEvery) && !cancel.requested() && std::chrono::steady_clock::now() < late) {
  }
  stop.request();
}

/// What each host has now; silent ones are waited for together. The first host's word is taken whatever the others do;
/// what could not be had of one of them is told at the end.
Result<> look_at_all(std::span<const std::shared_ptr<HostLink>> links, std::span<const Watched> runs, Meeting& meeting,
                     const Cancel& cancel, Until until) {
  std::vector<Result<>> seen(links.size());
  const auto look = [&](std::size_t k) {
    const int node = static_cast<int>(k);
    const std::vector<Watched> left = meeting.left(runs, node);
    if (!left.empty()) seen[k] = watch_once(*links[k], left, node, meeting, cancel, until);
  };
  {
    std::vector<std::jthread> others;
    for (std::size_t k = 1; k < links.size(); ++k) others.emplace_back(look, k);
    look(0);
  }
  // Only now is it known which runs have ended on the first.
  for (std::size_t k = 1; k < links.size(); ++k) {
    if (seen[0] && seen[k]) seen[k] = take_rest(*links[k], runs, static_cast<int>(k), meeting, cancel);
  }
  const auto failed = std::find_if(seen.begin(), seen.end(), [](const Result<>& one) { return !one; });
  return failed == seen.end() ? Result<>() : *failed;
}

}  // namespace

Result<> watch_gang(std::span<const std::shared_ptr<HostLink>> links, std::span<const Watched> runs,
                    const std::map<std::string, GangFiles>& files, EventSink& sink, const Cancel& cancel, Until until) {
  Meeting meeting(sink, files);
  if (until != Until::ended) return look_at_all(links, runs, meeting, cancel, until);
  TRY_ASSIGN(const Cancel stop, Cancel::create());
  std::vector<std::jthread> others;
  for (std::size_t k = 1; k < links.size(); ++k) {
    others.emplace_back([&, k] { watch_other(*links[k], runs, static_cast<int>(k), meeting, stop); });
  }
  const std::vector<Watched> own = meeting.left(runs, 0);
  auto watched = own.empty() ? Result<>() : watch_once(*links[0], own, 0, meeting, cancel, until);
  if (watched && !cancel.requested()) await_last_words(links, runs, meeting, cancel, stop);
  stop.request();
  others.clear();
  if (!watched || cancel.requested()) return watched;
  for (std::size_t k = 1; k < links.size(); ++k) {
    for (const std::string& run : meeting.kept_waiting(static_cast<int>(k)))
      TRY(meeting.give_up(run, static_cast<int>(k)));
  }
  return {};
}

}  // namespace trainctl::target
