// SPDX-License-Identifier: Apache-2.0
// The runs of a host as a whole: adopt, runs, remove, clean, and watching without following.
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "format/paths.hpp"
#include "host/stdio/frame.hpp"
#include "stdio_client.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;
using namespace trainctl::host::stdio_test;

namespace {

/// All notes of a watch stream that are about runs, not about files.
Json run_notes(Client& client, std::uint32_t stream) {
  Json notes = Json::array();
  for (;;) {
    const Frame frame = client.answer(stream);
    if (frame.type == FrameType::end) return notes;
    REQUIRE((frame.type == FrameType::note || frame.type == FrameType::data));
    if (frame.type != FrameType::note) continue;
    const Json note = *base::parse_json(frame.payload);
    if (!note.contains("file")) notes.push_back(note);
  }
}

}  // namespace

TEST_CASE("watch without follow hands over what is there, and tells what is not") {
  Client client;
  const auto going = make_run(client.store(), "so far\n");
  const auto ended = make_run(client.store(), "all\n");
  end_run(ended);
  const std::string gone = base::new_ulid();
  const Json runs = {{{"run", going.id()}}, {{"run", ended.id()}}, {{"run", gone}}};
  client.ask(1, {{"op", "watch"}, {"runs", runs}, {"follow", false}});
  const Json notes = run_notes(client, 1);
  REQUIRE(notes.size() == 3);
  for (const Json& note : notes) {
    if (note["run"] == going.id()) CHECK((note["current"] == true && note["state"] == "running"));
    if (note["run"] == ended.id()) CHECK((note["ended"] == true && note["state"] == "succeeded"));
    if (note["run"] == gone) CHECK(note["missing"] == true);
  }
  // Following, a run that is not there is told as well and does not end the others.
  client.ask(2, {{"op", "watch"}, {"runs", {{{"run", gone}}, {{"run", ended.id()}}}}});
  CHECK(run_notes(client, 2).size() == 2);
}

TEST_CASE("adopt takes a list of runs up, and passes over what is not here") {
  Client client;
  const auto run = make_run(client.store(), "");
  const std::string gone = base::new_ulid();
  const Json reply = client.reply(1, {{"op", "adopt"}, {"runs", {run.id(), gone}}});
  REQUIRE(reply["runs"].size() == 2);
  CHECK(reply["runs"][0]["state"] == "running");
  CHECK(reply["runs"][1]["found"] == false);
  CHECK(base::exists(client.store() / ("adopted-" + run.id())));
  CHECK(client.refusal(2, {{"op", "adopt"}, {"runs", {"../x"}}})["code"] == "invalid");
}

TEST_CASE("runs lists the host's runs with their states") {
  Client client;
  CHECK(client.reply(1, {{"op", "runs"}})["runs"].empty());
  const auto first = make_run(client.store(), "");
  const auto second = make_run(client.store(), "");
  end_run(second);
  const Json reply = client.reply(2, {{"op", "runs"}});
  REQUIRE(reply["runs"].size() == 2);
  CHECK(reply["next"].is_null());
  for (const Json& item : reply["runs"]) {
    CHECK(item["name"] == "digits-1");
    CHECK(item["state"] == (item["run"] == first.id() ? "running" : "succeeded"));
  }
  const std::string after = reply["runs"][0]["run"].get<std::string>();
  CHECK(client.reply(3, {{"op", "runs"}, {"after", after}})["runs"].size() == 1);
}

TEST_CASE("remove takes an ended run away and refuses one that goes on") {
  Client client;
  const auto run = make_run(client.store(), "log");
  CHECK(client.refusal(1, {{"op", "remove"}, {"run", run.id()}})["code"] == "invalid");
  CHECK(base::exists(run.plan()));
  end_run(run);
  CHECK(client.reply(2, {{"op", "remove"}, {"run", run.id()}})["removed"] == true);
  CHECK_FALSE(base::exists(run.root));
  CHECK(client.reply(3, {{"op", "remove"}, {"run", run.id()}})["removed"] == false);
}

TEST_CASE("clean keeps what goes on, and leaves no trace when nothing does and all is wanted") {
  Client client;
  const auto going = make_run(client.store(), "log");
  const auto ended = make_run(client.store(), "log");
  end_run(ended);
  const auto unneeded = format::StorePaths{client.store()}.inputs() / std::string(64, 'c');
  REQUIRE(base::make_directories(unneeded));
  const Json reply = client.reply(1, {{"op", "clean"}});
  CHECK(reply["runs"] == 1);
  REQUIRE(reply["kept"].size() == 1);
  CHECK(reply["kept"][0]["run"] == going.id());
  CHECK_FALSE(base::exists(ended.root));
  CHECK_FALSE(base::exists(unneeded));
  const Json refused = client.refusal(2, {{"op", "clean"}, {"all", true}});
  CHECK(refused["message"].get<std::string>().find("digits-1") != std::string::npos);
  CHECK(base::exists(going.plan()));
  end_run(going);
  const Json begun = client.reply(3, {{"op", "clean"}, {"all", true}, {"within_ms", 0}});
  CHECK(begun["more"] == true);
  CHECK(begun["runs"] == 0);
  CHECK(base::exists(going.plan()));
  const Json done = client.reply(4, {{"op", "clean"}, {"all", true}, {"within_ms", 60000}});
  CHECK(done["more"] == false);
  CHECK(done["runs"] == 1);
  CHECK_FALSE(base::exists(client.store()));
}
