// SPDX-License-Identifier: Apache-2.0
#include "cli/timed_lines.hpp"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "cli/log_times.hpp"
#include "cli/output.hpp"
#include "cli/time_text.hpp"
#include "engine/follow.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

constexpr std::uint64_t kBlock = 256U << 10U;
constexpr std::uint64_t kMostHeld = 1U << 20U;
constexpr std::uint64_t kHoldNs = 1'000'000'000;

}  // namespace

Result<std::uint64_t> TimedLines::add(const engine::LogRange& range) {
  if (range.attempt != attempt_ || range.epoch != epoch_) TRY(begin(range));
  std::uint64_t done = 0;
  while (done < range.size && !context_.out.closed()) {
    TRY_ASSIGN(const std::string block,
               base::read_range(range.path, range.offset + done, std::min(kBlock, range.size - done)));
    if (block.empty()) break;
    cut(block);
    done += block.size();
    TRY(settle());
  }
  return done;
}

Result<> TimedLines::begin(const engine::LogRange& range) {
  TRY(finish());
  attempt_ = range.attempt;
  epoch_ = range.epoch;
  begin_ = range.offset;
  TRY_ASSIGN(times_, LogTimes::read(run_.attempt(attempt_).times(rank_)));
  return {};
}

void TimedLines::cut(const std::string& block) {
  const std::uint64_t now = base::mono_ns();
  for (const char c : block) {
    if (c != '\n') {
      part_ += c;
      continue;
    }
    const std::uint64_t size = part_.size() + 1;
    held_.push_back({begin_, std::exchange(part_, {}), now});
    begin_ += size;
    held_bytes_ += size;
  }
}

Result<> TimedLines::settle() {
  if (held_.empty()) return {};
  TRY(times_->read_on());
  const std::uint64_t now = base::mono_ns();
  while (!held_.empty() &&
         (times_->knows(held_.front().begin) || held_bytes_ > kMostHeld || now - held_.front().seen_ns > kHoldNs)) {
    held_bytes_ -= held_.front().text.size() + 1;
    print(held_.front());
    held_.pop_front();
  }
  context_.out.flush();
  return {};
}

Result<> TimedLines::finish() {
  if (!part_.empty()) held_.push_back({begin_, std::exchange(part_, {}), 0});
  if (!held_.empty()) TRY(times_->read_on());
  for (const Line& line : held_) print(line);
  held_.clear();
  held_bytes_ = 0;
  context_.out.flush();
  return {};
}

void TimedLines::print(const Line& line) {
  const base::WallTime time = times_->time_of(line.begin);
  if (!context_.json) {
    context_.out.line(time_text(context_, time) + "  " +
                      (context_.out.is_terminal() ? filter_.filter(line.text) : line.text));
    return;
  }
  Json shown = {{"type", "log"},
                {"attempt", attempt_},
                {"epoch", epoch_},
                {"offset", line.begin},
                {"time", time == base::WallTime{} ? Json(nullptr) : Json(base::format_utc(time))}};
  put_bytes(shown, line.text);
  context_.print(shown);
}

}  // namespace trainctl::cli
