// SPDX-License-Identifier: Apache-2.0
#include "engine/follow.hpp"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "format/event.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

constexpr std::uint64_t kMostAtOnce = 8U << 20U;
// Giving inotify back costs a process 4 to 8 ms at its end (the kernel waits for its marks to go): a run that is over
// sooner than this is better looked at every millisecond.
constexpr std::uint64_t kYoungNs = 100'000'000;
constexpr int kYoungWaitMs = 1;
constexpr int kWaitMs = 1000;

std::string log_name(int rank) {
  return rank == 0 ? "std.log" : "rank-" + std::to_string(rank) + ".log";
}

}  // namespace

Result<Follower> Follower::open(const format::RunPaths& run, const FollowOptions& options) {
  Follower follower(run, options);
  follower.opened_ns_ = base::mono_ns();
  follower.log_attempt_ = options.attempt.value_or(options.first_attempt);
  follower.log_offset_ = options.from;
  follower.log_copy_ = options.copy;
  return follower;
}

int Follower::wait_ms() const {
  return young_ ? kYoungWaitMs : kWaitMs;
}

void Follower::grow_up() {
  if (!young_ || base::mono_ns() - opened_ns_ < kYoungNs) return;
  young_ = false;
  // Without inotify (its instances are limited per user) following still works, by looking every second.
  inotify_.reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
}

bool Follower::watch() {
  if (!inotify_) return false;
  const std::size_t before = watched_.size();
  std::vector<std::filesystem::path> wanted = {run_.root, run_.attempts(), run_.control()};
  for (const int attempt : {lines_.attempt, log_attempt_}) {
    if (attempt == 0) continue;
    wanted.push_back(run_.attempt(attempt).root);
    wanted.push_back(run_.attempt(attempt).logs());
  }
  for (const auto& path : wanted) {
    if (std::find(watched_.begin(), watched_.end(), path.string()) != watched_.end()) continue;
    if (::inotify_add_watch(inotify_.get(), path.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) >= 0) {
      watched_.push_back(path.string());
    }
  }
  return watched_.size() != before;
}

void Follower::drain_notifications() {
  std::array<char, 4096> buffer{};
  while (inotify_ && ::read(inotify_.get(), buffer.data(), buffer.size()) > 0) {
  }
}

Result<bool> Follower::read_state() {
  const int attempt = format::last_attempt(run_);
  bool changed = !state_known_;
  if (attempt != lines_.attempt || !state_known_) {
    TRY_ASSIGN(lines_, format::read_run_lines(run_));
    events_offset_ = 0;
    changed = true;
  }
  if (lines_.attempt > 0) {
    const auto path = run_.attempt(lines_.attempt).events();
    const std::uint64_t size = base::file_size(path).value_or(0);
    if (size > events_offset_ || changed) {
      TRY_ASSIGN(const auto text, base::read_file_if_exists(path));
      std::size_t consumed = 0;
      lines_.events = format::parse_lines(text.value_or(""), &consumed);
      changed = changed || consumed != events_offset_;
      events_offset_ = consumed;
    }
  }
  if (lines_.events.empty()) {  // no lead to be heard yet: what clients saw counts
    TRY_ASSIGN(format::RunLines fresh, format::read_run_lines(run_));
    changed = changed || fresh.clients != lines_.clients;
    lines_.clients = std::move(fresh.clients);
  }
  TRY_ASSIGN(const auto requests, base::list_directory(run_.control()));
  if (requests.size() != requests_seen_) {
    requests_seen_ = requests.size();
    TRY_ASSIGN(format::RunLines fresh, format::read_run_lines(run_));
    lines_.requests = std::move(fresh.requests);
    changed = true;
  }
  if (changed) state_ = format::fold(lines_);
  state_known_ = true;
  return changed;
}

std::filesystem::path Follower::log_path() const {
  const format::AttemptPaths attempt = run_.attempt(log_attempt_);
  return options_.environment ? attempt.environment_log() : attempt.log_copy(options_.rank, log_copy_);
}

bool Follower::has_next_copy() const {
  if (options_.environment) return false;
  return base::exists(run_.attempt(log_attempt_).log_copy(options_.rank, log_copy_ + 1));
}

/// How long the present log is when nothing more is added to it; empty while it may grow.
std::optional<std::uint64_t> Follower::final_size() const {
  // Nobody writes any more to the log of an earlier attempt, or to one that another file goes on from.
  if (log_attempt_ < lines_.attempt || has_next_copy()) return base::file_size(log_path()).value_or(0);
  if (!format::is_terminal(state_.state) && state_.state != format::State::retrying) return std::nullopt;
  if (options_.environment) return base::file_size(log_path()).value_or(0);  // the end records those of ranks
  for (auto event = lines_.events.rbegin(); event != lines_.events.rend(); ++event) {
    if (event->value("type", "") != "end") continue;
    const auto sizes = event->find("logs");
    if (sizes == event->end() || !sizes->is_object()) break;
    const auto size = sizes->find(log_name(options_.rank));
    if (size != sizes->end() && size->is_number_unsigned()) return size->get<std::uint64_t>();
    break;
  }
  return base::file_size(log_path()).value_or(0);
}

std::uint64_t Follower::look_at_log() {
  struct stat status{};
  std::uint64_t size = 0;
  if (log_ && ::fstat(log_.get(), &status) == 0) size = static_cast<std::uint64_t>(status.st_size);
  if (size < log_size_) {  // truncated by the script itself (`: > /dev/stdout`): what follows begins anew
    log_offset_ = 0;
    ++log_epoch_;
  }
  return log_size_ = size;
}

void Follower::begin_log(int attempt, int copy, int epoch) {
  log_attempt_ = attempt;
  log_copy_ = copy;
  log_epoch_ = epoch;
  log_offset_ = log_size_ = 0;
  log_.reset();
}

/// A log that is not there yet stays unopened.
Result<> Follower::open_log() {
  if (log_) return {};
  auto opened = base::open_file(log_path(), O_RDONLY);
  if (!opened && opened.error().code != Errc::not_found) return fail(std::move(opened).error());
  if (opened) log_ = std::move(*opened);
  return {};
}

Result<> Follower::read_log(Growth& growth) {
  more_ = false;
  if (log_attempt_ == 0) log_attempt_ = lines_.attempt;
  while (log_attempt_ > 0 && log_attempt_ <= lines_.attempt) {
    TRY(open_log());
    // Looked at before the size: what is written meanwhile is told next time, not lost behind the next copy.
    const bool next_copy = has_next_copy();
    const std::optional<std::uint64_t> end = final_size();
    std::uint64_t size = look_at_log();
    if (end) size = std::min(size, *end);
    if (size > log_offset_) {
      const std::uint64_t count = std::min(size - log_offset_, kMostAtOnce);
      growth.logs.push_back({log_attempt_, log_offset_, count, log_.get(), log_epoch_, log_path()});
      log_offset_ += count;
    }
    const bool next_attempt = !options_.attempt && log_attempt_ < lines_.attempt;
    // The open log stays as it is until what was handed out of it is read.
    more_ = log_offset_ < size || (!growth.logs.empty() && (next_copy || next_attempt));
    if (!growth.logs.empty() || (!next_copy && !next_attempt)) return {};
    if (next_copy) {
      begin_log(log_attempt_, log_copy_ + 1, log_epoch_ + 1);
    } else {
      begin_log(log_attempt_ + 1, 1, 1);
    }
  }
  return {};
}

void Follower::give_back(const LogRange& range, std::uint64_t size) {
  if (range.attempt == log_attempt_ && range.epoch == log_epoch_) log_offset_ -= std::min(size, log_offset_);
}

/// Whether what is followed grows no more.
bool Follower::is_over() const {
  if (format::is_terminal(state_.state)) return true;
  if (options_.attempt && *options_.attempt < lines_.attempt) return true;
  return options_.environment && (state_.state == format::State::running || state_.state == format::State::collecting);
}

Result<Growth> Follower::poll_growth() {
  grow_up();
  drain_notifications();
  Growth growth;
  TRY_ASSIGN(growth.state_changed, read_state());
  if (watch()) {  // what came between the look and the watch would not be told
    TRY_ASSIGN(const bool changed, read_state());
    growth.state_changed = growth.state_changed || changed;
  }
  if (options_.logs) TRY(read_log(growth));
  growth.finished = !more_ && is_over();
  if (growth.finished && options_.logs && log_attempt_ > 0) {
    const std::uint64_t size = base::file_size(log_path()).value_or(0);
    growth.finished = log_offset_ >= std::min(size, final_size().value_or(size)) && !has_next_copy();
  }
  return growth;
}

}  // namespace trainctl::engine
