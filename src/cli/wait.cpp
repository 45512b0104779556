// SPDX-License-Identifier: Apache-2.0
#include "cli/wait.hpp"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "cli/signals.hpp"
#include "engine/follow.hpp"
#include "engine/mirroring.hpp"
#include "engine/supervision.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {

namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000U;
constexpr std::uint64_t kOthersEveryNs = 10 * kSecondNs;

}  // namespace

Result<WaitForEnds> WaitForEnds::begin(std::vector<format::RunPaths> runs) {
  WaitForEnds waiting;
  TRY_ASSIGN(waiting.mirrors_, engine::Mirroring::begin_all(runs));
  std::erase_if(runs, [&waiting](const format::RunPaths& run) { return waiting.mirror_of(run) != nullptr; });
  waiting.in_place_ = std::move(runs);
  return waiting;
}

const engine::Mirroring* WaitForEnds::mirror_of(const format::RunPaths& run) const {
  const auto found =
      std::find_if(mirrors_.begin(), mirrors_.end(), [&run](const auto& mirror) { return mirror->mirrors(run); });
  return found == mirrors_.end() ? nullptr : found->get();
}

/// A supervisor that died is replaced, of the other runs as well: nobody else may be watching them.
Result<> WaitForEnds::look_after(const format::RunPaths& run) {
  const std::uint64_t now = base::mono_ns();
  if (now - adopted_ns_ > kSecondNs) {
    adopted_ns_ = now;
    TRY(engine::ensure_supervised(run, engine::Start::adopt_only));
  }
  if (now - others_adopted_ns_ <= kOthersEveryNs) return {};
  others_adopted_ns_ = now;
  for (const format::RunPaths& other : in_place_) TRY(engine::ensure_supervised(other, engine::Start::adopt_only));
  return {};
}

Result<format::RunState> WaitForEnds::end_of(const format::RunPaths& run,
                                             std::optional<std::chrono::milliseconds> timeout) {
  TRY_ASSIGN(auto follower, engine::Follower::open(run, {.logs = false}));
  const SignalInbox signals;
  const engine::Mirroring* const mirror = mirror_of(run);
  const std::uint64_t began = base::mono_ns();
  for (;;) {
    TRY_ASSIGN(const engine::Growth growth, follower.poll_growth());
    if (growth.finished) return follower.state();
    const auto trouble = mirror != nullptr ? mirror->trouble(run) : std::nullopt;
    if (trouble && trouble->error.code != Errc::unavailable) return fail(trouble->error);
    TRY(look_after(run));
    int wait_ms = follower.wait_ms();
    if (timeout) {
      const auto left = timeout->count() - static_cast<std::int64_t>((base::mono_ns() - began) / 1'000'000U);
      if (left <= 0)
        return fail(Errc::timeout, "the run has not ended yet", "it goes on; trainctl attach comes back to it");
      wait_ms = static_cast<int>(std::min<std::int64_t>(left, wait_ms));
    }
    std::array<pollfd, 2> waits = {pollfd{follower.fd(), POLLIN, 0}, pollfd{signals.fd(), POLLIN, 0}};
    ::poll(waits.data(), waits.size(), wait_ms);
    for (int number = signals.take(); number != 0; number = signals.take()) {
      if (number != SIGWINCH) return fail(Errc::canceled, "interrupted", "the run goes on; trainctl cancel ends it");
    }
  }
}

Result<format::RunState> wait_for_end(const format::RunPaths& run, std::optional<std::chrono::milliseconds> timeout) {
  TRY_ASSIGN(auto waiting, WaitForEnds::begin({run}));
  return waiting.end_of(run, timeout);
}

}  // namespace trainctl::cli
