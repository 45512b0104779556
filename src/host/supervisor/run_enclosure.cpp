// SPDX-License-Identifier: Apache-2.0
// A supervised run that is a job of a batch system: whose the attempt is, when the job has to go, and where the next
// attempt comes.
#include <algorithm>
#include <csignal>
#include <cstdint>

#include "base/clock.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "host/distribution/group.hpp"
#include "host/supervisor/enclosure.hpp"
#include "host/supervisor/reactor.hpp"
#include "host/supervisor/run_supervision.hpp"

namespace trainctl::host {
namespace {

using format::Cause;

constexpr std::uint64_t kLastWords = 5000 * kMillisecond;  // to kill what is left, list outputs and write the end
constexpr std::uint64_t kSecond = 1000 * kMillisecond;
constexpr std::uint64_t kFirstToHear = 3 * kSecond;

}  // namespace

void RunSupervision::enter_enclosure() {
  if (node_) {
    // The batch system tells every machine at once that it is over; what to do is for node 0 to say.
    reactor_.on_signal(SIGTERM, [] {});
    return await_word();
  }
  reactor_.on_signal(SIGTERM, [this] { leave_enclosure(base::mono_ns()); });
  recall(options_.attempt - 1);
  begin_attempt(options_.attempt, false);
}

bool RunSupervision::is_mine(const format::AttemptPaths& attempt) {
  if (!options_.enclosure || node_) return true;
  const auto claimed = options_.enclosure->claim(attempt);
  if (claimed && *claimed) return true;
  phase_ = Phase::done;
  report_opened(claimed ? nullptr : &claimed.error());
  return false;
}

/// The batch system has sent SIGTERM, to the ranks as well.
void RunSupervision::leave_enclosure(std::uint64_t now) {
  asked_to_go_ = true;
  if (phase_ == Phase::done) return;
  if (phase_ == Phase::backoff) {
    phase_ = Phase::done;  // the next attempt begins where the job goes on
    return;
  }
  next_inbox_ = 0;
  read_requests(now);  // a cancel of ours comes before what it made the batch system do
  if (phase_ == Phase::collecting) return collection_.hurry();
  if (stop_cause_ || phase_ == Phase::draining) return;
  depart(options_.enclosure->departure(), kSecond, now);
}

/// Ranks that ended in the time `before` did not end by themselves.
void RunSupervision::depart(const Departure& why, std::uint64_t before, std::uint64_t now) {
  stop_for(why.cause, why.message, now, why.patience);
  if (stop_cause_ == why.cause) stop_since_ = now - std::min(now, before);
}

/// The batch system tells machines and processes one after the other, and with a grace time some of them alone: a rank
/// may have heard its SIGTERM, and be gone, before we hear ours.
void RunSupervision::suspect_enclosure(std::uint64_t now) {
  if (!options_.enclosure || node_ || stop_cause_ || suspected_) return;
  const RankExits exits = all_exits();
  suspected_ = std::any_of(exits.begin(), exits.end(), [](const auto& exit) { return exit && exit->code != 0; });
  if (!suspected_) return;
  const auto why = options_.enclosure->ending();
  if (!why) return;
  asked_to_go_ = true;
  depart(*why, kFirstToHear, now);
}

std::uint64_t RunSupervision::enclosure_deadline() const {
  if (enclosure_ends_ == kNever) return kNever;
  const std::uint64_t needed = static_cast<std::uint64_t>(plan_.stop.grace.count()) * kMillisecond + kLastWords;
  return enclosure_ends_ - std::min(enclosure_ends_, needed);
}

/// Before the batch system would: its own end leaves less time, and kills the ranks beside us.
void RunSupervision::check_enclosure(std::uint64_t now) {
  if (!options_.enclosure || node_) return;
  enclosure_ends_ = options_.enclosure->ends_at(false);
  if (now < enclosure_deadline()) return;
  enclosure_ends_ = options_.enclosure->ends_at(true);  // somebody may have given it more time
  if (now < enclosure_deadline()) return;
  stop_for(Cause::time_limit, "the time limit of its job is reached", now);
}

}  // namespace trainctl::host
