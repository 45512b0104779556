// SPDX-License-Identifier: Apache-2.0
#include "target/registry.hpp"

#include <chrono>
#include <string>

#include "base/json.hpp"
#include "format/state.hpp"
#include "support/catch.hpp"
#include "target/scripted/scenario.hpp"
#include "trainctl/error.hpp"

namespace trainctl::target {

TEST_CASE("names of targets become definitions") {
  const auto local = resolve_target("local", "/");
  REQUIRE(local);
  CHECK((*local)["type"] == "local");
  CHECK(open_target(*local, "/"));
  CHECK(open_target(Json(nullptr), "/"));  // a plan of the first version

  const auto unknown = resolve_target("no-such-target-or-host", "/");
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().front().hint.find("scripted:FILE") != std::string::npos);
  const auto newer = open_target({{"type", "quantum"}}, "/");
  REQUIRE_FALSE(newer);
  CHECK(newer.error().code == Errc::store);
  CHECK(anchor_target("scripted:a.json", "/home/x") == "scripted:/home/x/a.json");
  CHECK(anchor_target("local", "/home/x") == "local");
}

TEST_CASE("all mistakes of a scenario are told at once, with their places") {
  const auto parsed = parse_scenario(R"({"fidelity": "exact",
"steps": [{"lgo": "x"}, {"state": "succeeded"}, {"metric": "a"}, {"end": "running"}, {"after": 3, "log": "x"},
{"repeat": -1, "log": "x"}, {"cause": "boredom", "end": "failed"}, {"log": "behind the end"}]})",
                                     "demo.json");
  REQUIRE_FALSE(parsed);
  const Errors& errors = parsed.error();
  CHECK(errors.size() == 9);
  for (const Error& error : errors) {
    INFO(error.message);
    CHECK(error.at);
    CHECK_FALSE(error.field.empty());
  }
}

TEST_CASE("a scenario without an end succeeds; repeated steps come one after the other") {
  const auto parsed = parse_scenario(R"({"steps": [{"log": "x", "after": "5ms", "repeat": 3, "every": "10ms"}]})", "x");
  REQUIRE(parsed);
  REQUIRE(parsed->steps.size() == 4);
  CHECK(parsed->steps[2].at == std::chrono::milliseconds(25));
  CHECK(parsed->steps[3].kind == StepKind::end);
  CHECK(parsed->steps[3].state == format::State::succeeded);
  CHECK_FALSE(parse_scenario("[]", "x"));
  CHECK_FALSE(parse_scenario("{", "x"));
}

}  // namespace trainctl::target
