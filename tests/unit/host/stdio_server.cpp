// SPDX-License-Identifier: Apache-2.0
// The protocol as a client sees it: hello, launch, watch, fetch.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/stdio/frame.hpp"
#include "host/stdio/run_listing.hpp"
#include "stdio_client.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;
using namespace trainctl::host::stdio_test;

namespace {

/// Reads a watch stream to its end, granting credit; files by name.
std::map<std::string, std::string> copy_all(Client& client, std::uint32_t stream, Json* ended = nullptr) {
  std::map<std::string, std::string> files;
  std::string current;
  CreditReturn credit;
  for (;;) {
    const Frame frame = client.answer(stream);
    if (frame.type == FrameType::end) return files;
    if (frame.type == FrameType::note) {
      const Json note = *base::parse_json(frame.payload);
      if (note.contains("ended")) {
        if (ended != nullptr) *ended = note;
        continue;
      }
      if (note.contains("current")) continue;
      current = note["file"].get<std::string>();
      auto& file = files[current];
      if (file.empty()) file.resize(note["offset"].get<std::size_t>(), '?');
      CHECK(file.size() == note["offset"].get<std::size_t>());
      continue;
    }
    REQUIRE(frame.type == FrameType::data);
    REQUIRE(credit.received(frame.payload.size()));
    files[current] += frame.payload;
    if (const std::uint32_t grant = credit.consumed(frame.payload.size()); grant > 0)
      client.send(FrameType::credit, stream, encode_u32(grant));
  }
}

}  // namespace

TEST_CASE("the runner greets with its protocol and what it offers") {
  Client client;
  const Frame frame = client.receive();
  REQUIRE(frame.type == FrameType::hello);
  const Json hello = *base::parse_json(frame.payload);
  CHECK(hello["protocol"] == Json::array({1, 1}));
  CHECK(hello["operations"].dump().find("launch") != std::string::npos);
  CHECK_FALSE(hello["boot"].get<std::string>().empty());
  CHECK(client.refusal(1, {{"op", "fly"}})["message"].get<std::string>().find("unsupported") != std::string::npos);
  CHECK(client.finish() == 0);
}

TEST_CASE("another protocol version or no protocol at all ends the connection with a reason") {
  Client newer(false);
  newer.send(FrameType::hello, 0, R"({"protocol":[7,9]})");
  (void)newer.receive();
  const Frame frame = newer.receive();
  CHECK(frame.type == FrameType::error);
  CHECK(frame.payload.find("the client 7 to 9") != std::string::npos);
  CHECK(newer.finish() == 2);
}

TEST_CASE("probe tells what the host is") {
  Client client;
  const Json host = client.reply(1, {{"op", "probe"}});
  CHECK(host["os"].is_string());
  CHECK(host["cpus"].get<double>() > 0);
  CHECK(host["memory"].get<double>() > 0);
  CHECK(host["disk_free"].get<double>() > 0);
  CHECK(host["gpus"].is_array());
  CHECK(host["programs"]["sh"].is_string());
}

TEST_CASE("launch is idempotent by the run's id and refuses another plan under it") {
  Client client;
  const Json document = format::to_json(plan());
  const std::string id = document["id"].get<std::string>();
  CHECK(client.reply(1, {{"op", "find"}, {"run", id}})["found"] == false);
  const Json first =
      client.reply(2, {{"op", "launch"}, {"plan", document}, {"secrets", {{"HF_TOKEN", "do not show"}}}});
  CHECK(first["new"] == true);
  CHECK(base::exists(client.store() / ("started-" + id)));
  struct stat status{};
  REQUIRE(::stat(format::StorePaths{client.store()}.secrets(id).c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0600U);
  CHECK(client.reply(3, {{"op", "launch"}, {"plan", document}})["new"] == false);
  Json other = document;
  other["name"] = "digits-2";
  CHECK(client.refusal(4, {{"op", "launch"}, {"plan", other}})["code"] == "invalid");
  CHECK(client.reply(5, {{"op", "find"}, {"run", id}})["state"] == "created");
}

TEST_CASE("missing names the blobs the host has not") {
  Client client;
  const std::string unknown(64, 'a');
  CHECK(client.reply(1, {{"op", "missing"}, {"blobs", Json::array({unknown})}})["missing"] == Json::array({unknown}));
  CHECK(client.refusal(2, {{"op", "missing"}, {"blobs", Json::array({"xyz"})}})["code"] == "invalid");
}

TEST_CASE("a control request is written once, whole, under its own id") {
  Client client;
  const auto run = make_run(client.store(), "");
  const std::string key = base::new_ulid();
  const Json ask = {{"op", "request"}, {"run", run.id()}, {"id", key}, {"request", {{"type", "cancel"}}}};
  CHECK(client.reply(1, ask)["new"] == true);
  CHECK(client.reply(2, ask)["new"] == false);
  CHECK(*base::read_file(run.request(key)) == "{\"type\":\"cancel\"}\n");
  CHECK(base::list_directory(run.control())->size() == 1);
}

TEST_CASE("watch copies what is there, then what grows, and tells the end after the last byte") {
  Client client;
  const std::string log(900'000, 'a');  // more than the credit and than a socket holds
  const auto run = make_run(client.store(), log);
  client.ask(1, {{"op", "watch"}, {"runs", {{{"run", run.id()}}}}});
  const pid_t writer = ::fork();
  if (writer == 0) {
    auto fd = base::open_file(run.attempt(1).log(0), O_WRONLY | O_APPEND);
    for (int i = 0; i < 100; ++i) (void)base::write_all(fd->get(), "line\n");
    (void)base::make_directories(run.attempt(1).metrics());
    (void)base::write_file_atomic(run.attempt(1).metrics() / "script-r0.jsonl", "{}\n");
    end_run(run);
    ::_exit(0);
  }
  Json ended;
  const auto files = copy_all(client, 1, &ended);
  ::waitpid(writer, nullptr, 0);
  CHECK(ended["state"] == "succeeded");
  RunListing listing;
  listing.refresh(run, true);
  for (const auto& name : listing.files()) {
    INFO(name);
    CHECK((files.contains(name) && files.at(name) == *base::read_file(run.root / name)));
  }
  CHECK(files.at("attempts/1/logs/std.log").size() == 900'500);
}

TEST_CASE("watch resumes at a cursor, and refuses one whose tail differs") {
  Client client;
  const auto run = make_run(client.store(), "0123456789");
  end_run(run);
  const auto watch = [&](const std::string& tail) {
    const Json cursors = {{"attempts/1/logs/std.log", {{"have", 4}, {"tail", base::sha256_hex(tail)}}}};
    return Json{{"op", "watch"}, {"runs", {{{"run", run.id()}, {"cursors", cursors}}}}};
  };
  client.ask(1, watch("0123"));
  CHECK(copy_all(client, 1).at("attempts/1/logs/std.log") == "????456789");
  client.ask(2, watch("abcd"));
  bool mismatch = false;
  for (;;) {
    const Frame frame = client.answer(2);
    if (frame.type == FrameType::end) break;
    if (frame.type == FrameType::note && frame.payload.find("\"mismatch\":true") != std::string::npos) mismatch = true;
  }
  CHECK(mismatch);
}

TEST_CASE("a big log without credit does not delay a request") {
  Client client;
  const auto run = make_run(client.store(), std::string(4U << 20U, 'b'));
  client.ask(1, {{"op", "watch"}, {"runs", {{{"run", run.id()}}}}});
  std::size_t before = 0;
  client.ask(2, {{"op", "find"}, {"run", run.id()}});
  for (;;) {
    const Frame frame = client.receive();
    if (frame.stream == 2) break;
    if (frame.type == FrameType::data) before += frame.payload.size();
  }
  CHECK(before <= kStreamCredit);
  client.send(FrameType::cancel, 1, "");
  CHECK(client.reply(3, {{"op", "find"}, {"run", run.id()}})["found"] == true);
}

TEST_CASE("what the lead says comes before a long log, an end behind it") {
  Client client;
  const auto run = make_run(client.store(), std::string(200'000, 'b'));
  end_run(run);
  client.ask(1, {{"op", "watch"}, {"runs", {{{"run", run.id()}}}}});
  std::vector<std::string> order;
  std::string events;
  for (Frame frame = client.answer(1); frame.type != FrameType::end; frame = client.answer(1)) {
    if (frame.type == FrameType::note) {
      const Json note = *base::parse_json(frame.payload);
      order.push_back(note.contains("file") ? note["file"].get<std::string>() : "ended");
      continue;
    }
    if (order.back() != "attempts/1/events.jsonl") continue;
    events += frame.payload;
    CHECK((events.find(R"("type":"end")") != std::string::npos) == (order.size() > 1));
  }
  CHECK(order == std::vector<std::string>{"attempts/1/events.jsonl", "attempts/1/logs/std.log",
                                          "attempts/1/events.jsonl", "ended"});
  CHECK(events == *base::read_file(run.attempt(1).events()));
}

TEST_CASE("a second attempt is told of behind everything of the first") {
  Client client;
  const auto run = make_run(client.store(), std::string(200'000, 'b'));
  auto first = format::EventWriter::open(run.attempt(1).events());
  REQUIRE(first);
  REQUIRE(first->append("end", {{"state", "failed"}, {"cause", "exit"}, {"exit_code", 1}, {"next", "retry"}}));
  REQUIRE(base::make_directories(run.attempt(2).logs()));
  auto second = format::EventWriter::open(run.attempt(2).events());
  REQUIRE(second);
  REQUIRE(second->append("attempt", {{"attempt", 2}}));
  client.ask(1, {{"op", "watch"}, {"runs", {{{"run", run.id()}}}}, {"follow", false}});
  std::vector<std::string> order;
  for (Frame frame = client.answer(1); frame.type != FrameType::end; frame = client.answer(1)) {
    if (frame.type != FrameType::note) continue;
    const Json note = *base::parse_json(frame.payload);
    if (note.contains("file")) order.push_back(note["file"].get<std::string>());
  }
  CHECK(order == std::vector<std::string>{"attempts/1/events.jsonl", "attempts/1/logs/std.log",
                                          "attempts/1/events.jsonl", "attempts/2/events.jsonl"});
}

TEST_CASE("without logs those of an attempt that goes on are left out, those of one that has ended are not") {
  Client client;
  const auto run = make_run(client.store(), "a line\n");
  const Json watch = {{"op", "watch"}, {"runs", {{{"run", run.id()}}}}, {"follow", false}, {"logs", false}};
  client.ask(1, watch);
  CHECK(copy_all(client, 1).count("attempts/1/logs/std.log") == 0);
  end_run(run);
  client.ask(2, watch);
  CHECK(copy_all(client, 2).at("attempts/1/logs/std.log") == "a line\n");
  CHECK(client.refusal(3, {{"op", "watch"}, {"runs", {{{"run", run.id()}}}}, {"logs", "no"}})["code"] == "invalid");
}

TEST_CASE("fetch may give the digest alone, and others are answered meanwhile") {
  Client client;
  const std::string log(std::size_t{40} << 20U, 'x');
  const auto run = make_run(client.store(), log);
  const Json fetch = {{"op", "fetch"}, {"run", run.id()}, {"file", "attempts/1/logs/std.log"}, {"digest", true}};
  const auto digest_of = [&](std::uint32_t stream) {
    CHECK(client.answer(stream).type == FrameType::note);
    const Frame end = client.answer(stream);
    CHECK(end.type == FrameType::end);
    return *base::parse_json(end.payload);
  };
  client.ask(1, fetch);
  client.ask(2, {{"op", "ping"}});
  CHECK(client.answer(2).type == FrameType::reply);
  CHECK(digest_of(1) == Json{{"bytes", log.size()}, {"sha256", base::sha256_hex(log)}});
  Json part = fetch;
  part["offset"] = log.size() - 3;
  part["count"] = 9;
  client.ask(3, part);
  CHECK(digest_of(3) == Json{{"bytes", 3}, {"sha256", base::sha256_hex("xxx")}});
}

TEST_CASE("fetch gives ranges of plain files and nothing else") {
  Client client;
  const auto run = make_run(client.store(), "hello world");
  client.ask(1, {{"op", "fetch"}, {"run", run.id()}, {"file", "attempts/1/logs/std.log"}, {"offset", 6}, {"count", 3}});
  const Frame note = client.answer(1);
  CHECK(note.type == FrameType::note);
  CHECK((*base::parse_json(note.payload))["size"] == 11);
  CHECK(client.answer(1).payload == "wor");
  CHECK(client.answer(1).type == FrameType::end);

  stdfs::create_symlink("/etc/passwd", run.attempt(1).root / "link");
  stdfs::create_directory_symlink("/etc", run.attempt(1).root / "folder");
  REQUIRE(::mkfifo((run.attempt(1).root / "fifo").c_str(), 0600) == 0);
  std::uint32_t stream = 10;
  for (const char* file : {"attempts/1/link", "attempts/1/folder/passwd", "attempts/../../../etc/passwd", "attempts//1",
                           "client/x.jsonl", "/etc/passwd", "attempts/1/fifo", "attempts/1"}) {
    INFO(file);
    CHECK(client.refusal(stream++, {{"op", "fetch"}, {"run", run.id()}, {"file", file}})["code"] == "denied");
  }
  CHECK(client.refusal(stream, {{"op", "fetch"}, {"run", "../x"}, {"file", "plan.json"}})["code"] == "invalid");
}
