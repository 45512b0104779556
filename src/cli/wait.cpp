// SPDX-License-Identifier: Apache-2.0
#include "cli/wait.hpp"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <optional>

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

Result<format::RunState> wait_for_end(const format::RunPaths& run, std::optional<std::chrono::milliseconds> timeout) {
  TRY_ASSIGN(auto follower, engine::Follower::open(run, {.logs = false}));
  const SignalInbox signals;
  TRY_ASSIGN(const auto mirroring, engine::Mirroring::begin(run, engine::Start::adopt_only));
  const std::uint64_t began = base::mono_ns();
  std::uint64_t last_adoption = 0;
  for (;;) {
    TRY_ASSIGN(const engine::Growth growth, follower.poll_growth());
    if (growth.finished) return follower.state();
    const auto trouble = mirroring ? mirroring->trouble() : std::nullopt;
    if (trouble && trouble->error.code != Errc::unavailable) return fail(trouble->error);
    const std::uint64_t now = base::mono_ns();
    if (now - last_adoption > 1'000'000'000U) {
      last_adoption = now;
      TRY(engine::ensure_supervised(run, engine::Start::adopt_only));
    }
    int wait_ms = follower.wait_ms();
    if (timeout) {
      const auto left = timeout->count() - static_cast<std::int64_t>((now - began) / 1'000'000U);
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

}  // namespace trainctl::cli
