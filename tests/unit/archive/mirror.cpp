// SPDX-License-Identifier: Apache-2.0
#include "archive/mirror.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::archive {
namespace {

namespace fs = std::filesystem;

constexpr auto kLog = "attempts/1/logs/std.log";

class TemporaryRun {
 public:
  TemporaryRun() {
    std::string name = (fs::temp_directory_path() / "trainctl-mirror-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    run.root = name;
  }
  TemporaryRun(const TemporaryRun&) = delete;
  TemporaryRun& operator=(const TemporaryRun&) = delete;
  ~TemporaryRun() { (void)base::remove_tree(run.root); }
  [[nodiscard]] Mirror open() const {
    auto mirror = Mirror::open(run);
    REQUIRE(mirror);
    REQUIRE(*mirror);
    return std::move(**mirror);
  }
  [[nodiscard]] std::string text(const std::string& file) const {
    return base::read_file(run.root / file).value_or("?");
  }
  format::RunPaths run;
};

/// What a source of these bytes answers.
Mirror::SourceHash source(const std::string& bytes) {
  return [&bytes](std::uint64_t count) -> Result<std::string> { return base::sha256_hex(bytes.substr(0, count)); };
}

}  // namespace

TEST_CASE("a mirror writes at the source's offset, so a repeat is harmless") {
  const TemporaryRun temporary;
  auto mirror = temporary.open();
  REQUIRE(mirror.write(kLog, 0, "one\n"));
  REQUIRE(mirror.write(kLog, 4, "two\n"));
  REQUIRE(mirror.write(kLog, 0, "one\ntwo\n"));
  CHECK(temporary.text(kLog) == "one\ntwo\n");
  const auto hole = mirror.write(kLog, 9, "x");
  REQUIRE_FALSE(hole);
  CHECK(hole.error().code == Errc::invalid);
  const auto cursors = mirror.cursors();
  REQUIRE(cursors);
  CHECK(cursors->at(kLog).have == 8);
  CHECK(cursors->at(kLog).tail == base::sha256_hex("one\ntwo\n"));
}

TEST_CASE("one process mirrors a run") {
  const TemporaryRun temporary;
  {
    const auto mirror = temporary.open();
    const auto second = Mirror::open(temporary.run);
    REQUIRE(second);
    CHECK_FALSE(second->has_value());
  }
  CHECK(Mirror::open(temporary.run).value().has_value());
}

TEST_CASE("only what grows on a target may be written by it") {
  for (const char* good : {"attempts/1/events.jsonl", "attempts/12/logs/std.log", "attempts/1/nodes/0/rank-0.jsonl",
                           "attempts/1/metrics/script-r0.jsonl", "attempts/1/outputs.jsonl"}) {
    INFO(good);
    CHECK(is_mirrored(good));
  }
  for (const char* bad :
       {"", "plan.json", "attempts", "attempts/1", "attempts/x/events.jsonl", "attempts/1/../plan.json",
        "attempts/1/logs/../../../plan.json", "/etc/passwd", "attempts/1/logs/", "attempts//logs/a",
        "attempts/1/work/a", "client/x.jsonl", "attempts/1/logs/.hidden", "../x/attempts/1/logs/a"}) {
    INFO(bad);
    CHECK_FALSE(is_mirrored(bad));
  }
  const TemporaryRun temporary;
  auto mirror = temporary.open();
  CHECK_FALSE(mirror.write("plan.json", 0, "{}"));
}

TEST_CASE("a truncated source begins a new epoch and the old bytes stay") {
  const TemporaryRun temporary;
  auto mirror = temporary.open();
  const std::string old(200'000, 'a');
  REQUIRE(mirror.write(kLog, 0, old));
  const std::string now = std::string(1000, 'a') + "b";
  const auto cursor = mirror.reconcile(kLog, now.size(), source(now));
  REQUIRE(cursor);
  CHECK(cursor->have == 0);
  REQUIRE(mirror.write(kLog, 0, now));
  CHECK(temporary.text(kLog) == old);
  CHECK(temporary.text(std::string(kLog) + ".2") == now);
  const auto cursors = mirror.cursors();
  REQUIRE(cursors);
  CHECK(cursors->at(kLog).have == now.size());
  CHECK_FALSE(cursors->contains(std::string(kLog) + ".2"));
}

TEST_CASE("a copy that lost its last writes to a reboot is rewritten from the common prefix") {
  const TemporaryRun temporary;
  const std::string whole(300'000, 'a');
  {
    auto mirror = temporary.open();
    REQUIRE(mirror.write(kLog, 0, whole.substr(0, 250'000)));
  }
  // As after a power loss: the end of the copy is zeros, and the machine has another boot id.
  auto damaged = whole.substr(0, 150'000) + std::string(100'000, '\0');
  REQUIRE(base::write_file_atomic(temporary.run.root / kLog, damaged));
  auto lines = base::read_file(temporary.run.mirror_cursors()).value();
  const auto boot = lines.find("\"boot\":\"");
  REQUIRE(boot != std::string::npos);
  lines.replace(boot + 8, 1, lines[boot + 8] == '0' ? "1" : "0");
  REQUIRE(base::write_file_atomic(temporary.run.mirror_cursors(), lines));

  auto mirror = temporary.open();
  const auto cursor = mirror.reconcile(kLog, whole.size(), source(whole));
  REQUIRE(cursor);
  CHECK(cursor->have == 131'072);
  REQUIRE(mirror.write(kLog, cursor->have, whole.substr(cursor->have)));
  CHECK(temporary.text(kLog) == whole);
}

TEST_CASE("where an engine's log goes on is kept with the length it belongs to") {
  const TemporaryRun temporary;
  {
    auto mirror = temporary.open();
    REQUIRE(mirror.write(kLog, 0, "one\n", "token-1"));
    REQUIRE(mirror.observe({{"state", "running"}}));
    REQUIRE(mirror.observe({{"state", "running"}}));
    REQUIRE(mirror.note_gap(kLog, 3));
  }
  // Bytes behind the recorded length, as when the process died in between: they are written once more.
  auto torn = base::open_file(temporary.run.root / kLog, O_WRONLY | O_APPEND);
  REQUIRE(torn);
  REQUIRE(base::write_all(torn->get(), "tw"));
  const auto mirror = temporary.open();
  const auto cursors = mirror.cursors();
  REQUIRE(cursors);
  CHECK(cursors->at(kLog).have == 4);
  CHECK(cursors->at(kLog).token == "token-1");
  std::size_t observed = 0;
  const auto names = base::list_directory(temporary.run.clients()).value();
  for (const std::string& name : names) {
    const auto lines = format::read_lines(temporary.run.clients() / name).value_or(std::vector<Json>());
    for (const Json& line : lines) observed += line.value("type", "") == "observed" ? 1U : 0U;
  }
  CHECK(observed == 1);
}

TEST_CASE("mirror: killed between the first bytes of a log service and their cursor, it asks for them again") {
  const TemporaryRun temporary;
  REQUIRE(temporary.open().write(kLog, 0, "one\n", "token-1"));
  // What a kill leaves between the two writes: the last line of the cursors is missing.
  const auto path = temporary.run.mirror_cursors();
  auto text = base::read_file(path);
  REQUIRE(text);
  text->resize(text->rfind('\n', text->size() - 2) + 1);
  REQUIRE(base::write_file_atomic(path, *text));
  const auto cursors = temporary.open().cursors();
  REQUIRE(cursors);
  CHECK(cursors->at(kLog).have == 0);
  CHECK(cursors->at(kLog).tail.empty());
  CHECK(cursors->at(kLog).token.empty());
}

TEST_CASE("mirror: a cursor that outlived its bytes does not count") {
  const TemporaryRun temporary;
  {
    auto mirror = temporary.open();
    REQUIRE(mirror.write(kLog, 0, "one\n", "token-1"));
    REQUIRE(mirror.write(kLog, 4, "two\n", "token-2"));
  }
  REQUIRE(::truncate((temporary.run.root / kLog).c_str(), 6) == 0);  // as a crash of the machine does it
  auto mirror = temporary.open();
  const auto cursors = mirror.cursors();
  REQUIRE(cursors);
  CHECK(cursors->at(kLog).have == 4);
  CHECK(cursors->at(kLog).token == "token-1");
  REQUIRE(mirror.write(kLog, 4, "two\n", "token-2"));
  CHECK(base::read_file(temporary.run.root / kLog).value_or("") == "one\ntwo\n");
}

}  // namespace trainctl::archive
