// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/poller.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/clock.hpp"
#include "host/launchers/slurm/commands.hpp"
#include "host/launchers/slurm/queue.hpp"

namespace trainctl::host::slurm {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kFirst = 300 * kMs;
constexpr std::uint64_t kSettled = 5'000 * kMs;  // from here on not more often than this
constexpr std::uint64_t kLively = 15'000 * kMs;
constexpr std::uint64_t kQuiet = 30'000 * kMs;

}  // namespace

bool Poller::poll(bool lively, std::uint64_t& seen) {
  if (question_) take_answer();
  const std::uint64_t now = base::mono_ns();
  if (!question_ && now >= next_) {
    auto asked = Question::ask(queue_words());
    if (asked) question_.emplace(std::move(*asked));
    asked_ = now;
    // 0.3 s, 0.6 s … up to 5 s, then slowly more.
    interval_ = std::max(kFirst, interval_ < kSettled ? interval_ * 2 : interval_ * 5 / 4);
    next_ = now + std::min(interval_, lively ? kLively : kQuiet);
  }
  return std::exchange(seen, generation_) != generation_;
}

void Poller::take_answer() {
  auto answer = question_->answer();
  if (!answer) return;
  question_.reset();
  down_ = !*answer || (*answer)->exit_code != 0;
  if (down_) return;
  snapshot_ = {parse_queue((*answer)->out), asked_};
  ++generation_;
}

int Poller::wait_ms() const {
  if (question_) return -1;  // its descriptor tells
  const std::uint64_t now = base::mono_ns();
  return now >= next_ ? 0 : static_cast<int>((next_ - now) / kMs + 1);
}

void Poller::hurry() {
  interval_ = 0;
  next_ = std::min(next_, base::mono_ns() + kFirst);
}

}  // namespace trainctl::host::slurm
