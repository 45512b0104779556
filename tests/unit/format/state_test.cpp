// SPDX-License-Identifier: Apache-2.0
#include "format/state.hpp"

#include <string>

#include "support/catch.hpp"

using namespace trainctl::format;

namespace {

/// One line a state: what it may be entered from, in the order of the states. Published in docs/store-format.md.
constexpr const char* kGolden =
    "created:\n"
    "queued: created preparing retrying\n"
    "preparing: created queued retrying\n"
    "running: created queued preparing retrying\n"
    "retrying: queued preparing running stopping collecting\n"
    "stopping: created queued preparing running retrying collecting\n"
    "collecting: running stopping\n"
    "succeeded: created queued preparing running retrying stopping collecting\n"
    "failed: created queued preparing running retrying stopping collecting\n"
    "canceled: created queued preparing running retrying stopping collecting\n"
    "timed_out: created queued preparing running retrying stopping collecting\n"
    "lost: created queued preparing running retrying stopping collecting\n";

}  // namespace

TEST_CASE("the transition table is the published one") {
  std::string table;
  for (const State to : kAllStates) {
    table += std::string(to_string(to)) + ":";
    for (const State from : kAllStates) {
      if (transition_allowed(from, to)) table += " " + std::string(to_string(from));
    }
    table += "\n";
  }
  CHECK(table == kGolden);
}

TEST_CASE("every state and cause has a name of its own") {
  for (const State state : kAllStates) CHECK(parse_state(to_string(state)) == state);
  for (int i = 0; i <= static_cast<int>(Cause::lost); ++i) {
    const auto cause = static_cast<Cause>(i);
    CHECK(parse_cause(to_string(cause)) == cause);
  }
  CHECK_FALSE(parse_state("ended"));
  CHECK_FALSE(parse_cause(""));
}
