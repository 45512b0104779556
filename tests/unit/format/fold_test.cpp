// SPDX-License-Identifier: Apache-2.0
#include "format/fold.hpp"

#include <chrono>
#include <cstddef>
#include <string>

#include "base/file.hpp"
#include "base/json.hpp"
#include "format/event.hpp"
#include "format/state.hpp"
#include "support/catch.hpp"
#include "unit/base/temp_dir.hpp"

namespace {

using namespace trainctl;
using format::State;

std::string event(const std::string& type, const std::string& fields = {}) {
  return R"({"v":1,"seq":1,"t":"2026-11-23T02:28:01.000000Z","type":")" + type + "\"" +
         (fields.empty() ? "" : "," + fields) + "}\n";
}
std::string state(const std::string& name) {
  return event("state", R"("state":")" + name + "\"");
}
std::string end(const std::string& name, const std::string& more = {}) {
  return event("end", R"("state":")" + name + R"(","cause":"exit","exit_code":1)" + more);
}

format::RunState fold(const std::string& text, int attempt = 1, const std::string& earlier = {}) {
  format::RunLines lines;
  lines.attempt = attempt;
  lines.events = format::parse_lines(text);
  lines.earlier_events = format::parse_lines(earlier);
  return format::fold(lines);
}

TEST_CASE("the last state of the lead counts, and an end is final") {
  CHECK(format::fold({}).state == State::created);
  CHECK(fold(event("attempt") + state("queued")).state == State::queued);
  CHECK(fold(state("queued") + state("preparing") + state("running")).state == State::running);
  const auto failed = fold(state("running") + end("failed") + state("running") + end("succeeded"));
  CHECK(failed.state == State::failed);
  CHECK(failed.cause == format::Cause::exit);
  CHECK(failed.exit_code == 1);
  CHECK(failed.ended == "2026-11-23T02:28:01.000000Z");
  CHECK(fold(state("running") + end("failed", R"(,"next":"retry")")).state == State::retrying);
  CHECK(fold(state("succeeded")).state == State::created);  // only an end is terminal
  CHECK(fold(end("running")).state == State::created);
}

TEST_CASE("earlier attempts say when it started, not how it is") {
  const auto view = fold(state("queued"), 2, state("running") + end("failed", R"(,"next":"retry")"));
  CHECK(view.state == State::queued);
  CHECK(view.attempt == 2);
  CHECK(view.started == "2026-11-23T02:28:01.000000Z");
  CHECK(fold("", 2, state("running")).state == State::retrying);
}

TEST_CASE("how long a run took is told by the monotonic clock of one boot") {
  const auto line = [](const std::string& t, const std::string& clock, const std::string& rest) {
    return R"({"t":"2026-11-23T)" + t + R"(Z",)" + clock + "," + rest + "}\n";
  };
  const std::string running = R"("type":"state","state":"running")";
  const std::string ended = R"("type":"end","state":"succeeded","cause":"exit","exit_code":0)";
  const auto took = [&](const std::string& begin, const std::string& end) { return fold(begin + end).took; };
  using std::chrono::microseconds;
  const std::string begin = line("10:00:00", R"("boot":"a","mono_ns":5000000000)", running);
  CHECK(took(begin, line("12:00:00", R"("boot":"a","mono_ns":6500000000)", ended)) == microseconds(1'500'000));
  CHECK(took(begin, line("09:00:00", R"("boot":"a","mono_ns":6500000000)", ended)) == microseconds(1'500'000));
  // Another boot, or a clock that makes no sense: the wall clock is all there is.
  CHECK(took(begin, line("10:00:02", R"("boot":"b","mono_ns":6500000000)", ended)) == microseconds(2'000'000));
  CHECK(took(begin, line("10:00:02", R"("boot":"a","mono_ns":4000000000)", ended)) == microseconds(2'000'000));
  CHECK(took(begin, line("10:00:02", R"("boot":"a","mono_ns":"x")", ended)) == microseconds(2'000'000));
  CHECK(took(begin, line("09:00:00", R"("boot":"b","mono_ns":1)", ended)) == microseconds(0));
  CHECK_FALSE(took("", line("10:00:00", R"("boot":"a","mono_ns":1)", ended)));
  CHECK_FALSE(fold(begin).took);
  // From the first attempt's start to the last one's end.
  CHECK(fold(line("10:00:09", R"("boot":"a","mono_ns":9000000000)", ended), 2, begin).took == microseconds(4'000'000));
}

TEST_CASE("a request to cancel shows as stopping until it is acknowledged") {
  format::RunLines lines;
  lines.attempt = 1;
  lines.events = format::parse_lines(state("running"));
  lines.requests.emplace("r1", Json{{"type", "cancel"}});
  CHECK(format::fold(lines).state == State::stopping);
  CHECK(format::fold(lines).open_requests.size() == 1);
  lines.events = format::parse_lines(state("running") + event("control", R"("request":"r1")"));
  CHECK(format::fold(lines).state == State::running);
  CHECK(format::fold(lines).acknowledged_stop);
  lines.requests.emplace("r2", Json{{"type", "cancel"}});
  lines.events = format::parse_lines(end("succeeded"));
  CHECK(format::fold(lines).state == State::succeeded);
}

TEST_CASE("what a client saw counts only without a lead") {
  format::RunLines lines;
  lines.clients.push_back(format::parse_lines(event("intent") + event("observed", R"("state":"running")")));
  CHECK(format::fold(lines).state == State::running);
  lines.attempt = 1;
  lines.events = format::parse_lines(state("queued"));
  CHECK(format::fold(lines).state == State::queued);
}

TEST_CASE("a file cut at any byte folds to the state of its whole lines") {
  const std::string text = event("attempt") + state("queued") + state("preparing") + state("running") + end("failed");
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    std::size_t consumed = 0;
    (void)format::parse_lines(text.substr(0, cut), &consumed);
    const std::size_t newline = cut == 0 ? std::string::npos : text.rfind('\n', cut - 1);
    CHECK(consumed == (newline == std::string::npos ? 0 : newline + 1));
    CHECK(fold(text.substr(0, cut)).state == fold(text.substr(0, consumed)).state);
    // A writer that restarts ends the torn line and goes on: the torn one is skipped, the rest stays readable.
    const auto mended = fold(text.substr(0, cut) + "\n" + end("canceled"));
    CHECK(format::is_terminal(mended.state));
  }
}

TEST_CASE("lines that are spliced, binary or no objects are skipped") {
  const std::string noise = std::string(4, '\0') + "\n[1,2]\n\"text\"\n{\"type\":\n{\"type\":5}\n{}\n\xff\xfe\n";
  CHECK(fold(noise + state("running") + noise).state == State::running);
  for (std::size_t at = 0; at <= state("queued").size(); ++at) {
    const std::string spliced = state("queued").insert(at, "{\"type\":\"end\",\"state\":\"failed\"");
    CHECK_FALSE(fold(spliced + state("running")).state == State::created);
  }
}

TEST_CASE("a writer goes on behind a torn line with the next number") {
  const test::TempDir folder;
  const auto path = folder.path() / "events.jsonl";
  {
    auto writer = format::EventWriter::open(path).value();
    REQUIRE(writer.append("state", {{"state", "queued"}}).has_value());
    REQUIRE(writer.append("state", {{"state", "running"}}).has_value());
  }
  const std::string whole = base::read_file(path).value();
  REQUIRE(base::write_file_atomic(path, whole.substr(0, whole.size() - 5)).has_value());
  auto writer = format::EventWriter::open(path).value();
  CHECK(writer.next_seq() == 2);
  REQUIRE(writer.append("end", {{"state", "failed"}}).has_value());
  const auto lines = format::read_lines(path).value();
  REQUIRE(lines.size() == 2);
  CHECK(lines[1]["type"] == "end");
  CHECK(lines[1]["seq"] == 2);
  CHECK_FALSE(format::EventWriter::create(path).has_value());
}

}  // namespace
