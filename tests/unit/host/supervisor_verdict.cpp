// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/supervisor/journal.hpp"
#include "host/supervisor/verdict.hpp"
#include "host/waiter/rank_record.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;
using format::Cause;
using format::State;

namespace {

RankExit exited(int code, std::uint64_t at = 1) {
  return {.code = code, .mono_ns = at};
}

RankExit killed(int signal) {
  return {.code = 128 + signal, .signal = signal, .mono_ns = 1};
}

Outcome of(std::vector<std::optional<RankExit>> ranks) {
  Outcome outcome;
  outcome.alone = ranks.size() <= 1;
  outcome.ranks = std::move(ranks);
  return outcome;
}

format::PlanRetry retry(int max, std::vector<std::string> on) {
  format::PlanRetry rules;
  rules.max = max;
  rules.on = std::move(on);
  return rules;
}

}  // namespace

TEST_CASE("all ranks at zero succeed") {
  const AttemptEnd end = judge(of({exited(0), exited(0)}));
  CHECK(end.state == State::succeeded);
  CHECK(end.exit_code == 0);
}

TEST_CASE("the deciding rank gives code, signal and its name") {
  Outcome outcome = of({exited(0), exited(3)});
  outcome.deciding = 1;
  AttemptEnd end = judge(outcome);
  CHECK(end.state == State::failed);
  CHECK(end.cause == Cause::exit);
  CHECK(end.exit_code == 3);
  CHECK(end.message == "rank 1 exited with code 3");

  outcome = of({killed(SIGKILL)});
  outcome.deciding = 0;
  end = judge(outcome);
  CHECK(end.cause == Cause::signal);
  CHECK(end.signal == "SIGKILL");
  outcome.oom_killed = true;
  CHECK(judge(outcome).cause == Cause::oom_kernel);
  outcome.memory_limit_hit = true;
  CHECK(judge(outcome).cause == Cause::memory_limit);
}

TEST_CASE("a stop decides unless a rank had failed before it") {
  Outcome outcome = of({killed(SIGINT)});
  outcome.stopped_for = Cause::time_limit;
  CHECK(judge(outcome).state == State::timed_out);
  outcome.stopped_for = Cause::canceled;
  CHECK(judge(outcome).state == State::canceled);
  outcome.stopped_for = Cause::memory_limit;
  CHECK(judge(outcome).state == State::failed);
  outcome.deciding = 0;
  CHECK(judge(outcome).cause == Cause::signal);
}

TEST_CASE("a rank without a trace is lost") {
  Outcome outcome = of({std::nullopt});
  outcome.lost_rank = 0;
  outcome.lost_why = "gone";
  const AttemptEnd end = judge(outcome);
  CHECK(end.state == State::lost);
  CHECK(end.cause == Cause::lost);
}

TEST_CASE("retries follow their rules and budgets") {
  const AttemptEnd failed{.state = State::failed, .cause = Cause::exit, .exit_code = 137};
  CHECK_FALSE(should_retry(failed, false, retry(3, {}), {}));
  CHECK(should_retry(failed, false, retry(3, {"exit:137"}), {}));
  CHECK_FALSE(should_retry(failed, false, retry(3, {"exit:1"}), {}));
  CHECK(should_retry(failed, false, retry(1, {"exit"}), {}));
  CHECK_FALSE(should_retry(failed, false, retry(1, {"exit"}), {.asked = 1}));

  const AttemptEnd shot{.state = State::failed, .cause = Cause::signal, .exit_code = 137, .signal = "SIGKILL"};
  CHECK(should_retry(shot, false, retry(1, {"signal:KILL"}), {}));

  const AttemptEnd node{.state = State::failed, .cause = Cause::node};
  CHECK(should_retry(node, false, retry(0, {}), {.asked = 0, .infrastructure = 2}));
  CHECK_FALSE(should_retry(node, false, retry(0, {}), {.asked = 0, .infrastructure = 3}));

  const AttemptEnd start{.state = State::failed, .cause = Cause::start};
  CHECK(should_retry(start, true, retry(0, {}), {}));
  CHECK_FALSE(should_retry(start, false, retry(0, {}), {}));

  const AttemptEnd canceled{.state = State::canceled, .cause = Cause::canceled};
  CHECK_FALSE(should_retry(canceled, false, retry(9, {"canceled"}), {}));
  const AttemptEnd lost{.state = State::lost, .cause = Cause::lost};
  CHECK(should_retry(lost, false, retry(1, {"lost"}), {}));
}
