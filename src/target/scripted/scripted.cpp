// SPDX-License-Identifier: Apache-2.0
#include "target/scripted/scripted.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "target/cancel.hpp"
#include "target/scripted/playback.hpp"
#include "target/scripted/scenario.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kTail = 64U << 10U;
constexpr int kLookAgainMs = 50;  // for the stop that another process writes
constexpr auto kLog = "attempts/1/logs/std.log";
constexpr auto kEvents = "attempts/1/events.jsonl";

/// What is kept of a launch: never changed afterwards.
struct Launch {
  std::int64_t at_ms = 0;
  Json document;
};

Result<std::optional<Json>> read_json(const fs::path& path) {
  TRY_ASSIGN(const auto text, base::read_file_if_exists(path));
  if (!text) return std::nullopt;
  TRY_ASSIGN(Json json, base::parse_json(*text));
  return std::optional<Json>(std::move(json));
}

Result<std::optional<Launch>> read_launch(const fs::path& folder) {
  TRY_ASSIGN(const auto json, read_json(folder / "launch.json"));
  if (!json) return std::nullopt;
  return Launch{.at_ms = json->value("at_ms", std::int64_t{0}), .document = json->value("scenario", Json::object())};
}

Result<std::optional<Stop>> read_stop(const fs::path& folder) {
  TRY_ASSIGN(const auto json, read_json(folder / "stop.json"));
  if (!json) return std::nullopt;
  return Stop{.at_ms = json->value("at_ms", std::int64_t{0}),
              .request = json->value("request", ""),
              .reason = json->value("reason", "")};
}

/// One watched run: what the source holds, and what was handed over of it.
class Player {
 public:
  static Result<Player> open(const Watched& watched, const fs::path& folder) {
    TRY_ASSIGN(auto launch, read_launch(folder));
    if (!launch) return fail(Errc::not_found, "no run " + watched.ref.run + " was launched on this target");
    TRY_ASSIGN(auto stop, read_stop(folder));
    TRY_ASSIGN(auto scenario, scenario_from_json(launch->document));
    return Player(watched, folder, std::move(*launch), std::move(scenario), std::move(stop));
  }

  /// Hands over what is new at `now_ms`.
  Result<> advance(std::int64_t now_ms, EventSink& sink) {
    TRY(hear_stop());
    const bool disconnected = playback_.play(now_ms);
    if (scenario_.fidelity == LogFidelity::byte_exact) {
      for (const auto& [file, content] : playback_.files()) {
        if (file != kEvents) TRY(give(file, content, sink));
      }
      // Last: a copy that shows the end has everything before it.
      if (const auto events = playback_.files().find(kEvents); events != playback_.files().end())
        TRY(give(kEvents, events->second, sink));
    } else {
      TRY(give_chunks(sink));
      if (!playback_.observation().is_null()) TRY(sink.observed(run_, playback_.observation()));
    }
    if (disconnected) {
      Error lost{.code = Errc::unavailable, .message = "the scripted connection broke"};
      lost.retryable = true;
      return fail(std::move(lost));
    }
    if (playback_.ended() && !std::exchange(told_, true)) return sink.ended(run_);
    return {};
  }
  [[nodiscard]] bool ended() const { return told_; }
  [[nodiscard]] const std::string& run() const { return run_; }
  [[nodiscard]] std::optional<std::int64_t> next_ms() const { return playback_.next_ms(); }

 private:
  Player(const Watched& watched, fs::path folder, Launch launch, Scenario scenario, std::optional<Stop> stop)
      : run_(watched.ref.run),
        folder_(std::move(folder)),
        launch_(std::move(launch)),
        scenario_(std::move(scenario)),
        cursors_(watched.cursors),
        stopped_(stop.has_value()),
        playback_(scenario_, launch_.at_ms, std::move(stop)) {}

  /// Another process may have asked for the end meanwhile: what was to come is then another story.
  Result<> hear_stop() {
    if (stopped_ || playback_.ended()) return {};
    TRY_ASSIGN(auto stop, read_stop(folder_));
    if (!stop) return {};
    stopped_ = true;
    playback_ = Playback(scenario_, launch_.at_ms, std::move(stop));
    return {};
  }

  Result<> give(const std::string& file, const std::string& content, EventSink& sink) {
    Cursor& cursor = cursors_[file];
    const bool compare = !std::exchange(checked_[file], true) || content.size() < cursor.have;
    if (compare && !fits(content, cursor)) {
      const SourceHash hash = [&content](std::uint64_t offset, std::uint64_t count) -> Result<std::string> {
        if (offset > content.size()) return base::sha256_hex({});
        return base::sha256_hex(std::string_view(content).substr(offset, count));
      };
      TRY_ASSIGN(cursor, sink.mismatch(run_, file, content.size(), hash));
    }
    if (content.size() <= cursor.have) return {};
    const std::string_view bytes = std::string_view(content).substr(cursor.have);
    TRY(sink.append({.run = run_, .file = file, .offset = cursor.have, .bytes = bytes}));
    cursor.have += bytes.size();
    return {};
  }

  static bool fits(const std::string& content, const Cursor& cursor) {
    if (cursor.have > content.size()) return false;
    const std::uint64_t count = std::min(cursor.have, kTail);
    return cursor.tail.empty() ||
           base::sha256_hex(std::string_view(content).substr(cursor.have - count, count)) == cursor.tail;
  }

  Result<> give_chunks(EventSink& sink) {
    Cursor& cursor = cursors_[kLog];
    std::size_t at = 0;
    std::from_chars(cursor.token.data(), cursor.token.data() + cursor.token.size(), at);
    const auto& chunks = playback_.chunks();
    for (; at < chunks.size(); ++at) {
      if (chunks[at].empty()) {
        TRY(sink.gap(run_, kLog, 1));
        continue;
      }
      cursor.token = std::to_string(at + 1);
      TRY(sink.append(
          {.run = run_, .file = kLog, .offset = cursor.have, .bytes = chunks[at], .next_token = cursor.token}));
      cursor.have += chunks[at].size();
    }
    cursor.token = std::to_string(at);
    return {};
  }

  std::string run_;
  fs::path folder_;
  Launch launch_;
  Scenario scenario_;
  std::map<std::string, Cursor> cursors_;
  std::map<std::string, bool> checked_;
  bool stopped_ = false;
  bool told_ = false;
  Playback playback_;
};

Result<> tell_current(const std::vector<Player>& players, EventSink& sink) {
  for (const Player& player : players) {
    if (!player.ended()) TRY(sink.current(player.run()));
  }
  return {};
}

int wait_for(const std::vector<Player>& players, std::int64_t now_ms) {
  std::int64_t wait = kLookAgainMs;
  for (const Player& player : players) {
    if (const auto next = player.next_ms()) wait = std::min(wait, std::max<std::int64_t>(0, *next - now_ms));
  }
  return static_cast<int>(wait);
}

}  // namespace

WallClock real_clock() {
  return
      [] { return std::chrono::duration_cast<std::chrono::milliseconds>(base::wall_now().time_since_epoch()).count(); };
}

ScriptedTarget::ScriptedTarget(Json document, Scenario scenario, fs::path directory, WallClock clock)
    : document_(std::move(document)),
      scenario_(std::move(scenario)),
      directory_(std::move(directory)),
      clock_(std::move(clock)) {}

Capabilities ScriptedTarget::capabilities() const {
  return {.log_fidelity = scenario_.fidelity, .in_place = false, .reattach = true, .multi_node = false, .gpus = false};
}

Result<Json> ScriptedTarget::probe(const Cancel&) {
  return Json{{"type", "scripted"},
              {"fidelity", scenario_.fidelity == LogFidelity::byte_exact ? "byte_exact" : "best_effort"},
              {"steps", scenario_.steps.size()},
              {"duration_ms", scenario_.steps.back().at.count()}};
}

Result<Handle> ScriptedTarget::launch(const RunRef& ref, const Cancel& cancel) {
  TRY(base::make_directories(folder(ref.run)));
  const Json launch = {{"at_ms", clock_()}, {"scenario", document_}};
  // Of two launches the first one counts: link(2) publishes a whole file or says that there is one.
  const fs::path path = folder(ref.run) / "launch.json";
  if (!base::exists(path)) {
    const fs::path draft = folder(ref.run) / ("." + base::sha256_hex(base::dump_json(launch)).substr(0, 16));
    TRY(base::write_file_durable(draft, base::dump_json(launch)));
    std::error_code already;
    fs::create_hard_link(draft, path, already);
    fs::remove(draft, already);
  }
  TRY_ASSIGN(const auto handle, find(ref, cancel));
  if (!handle) return fail(Errc::io, "cannot keep the launch in " + folder(ref.run).string());
  return *handle;
}

Result<> ScriptedTarget::adopt(const RunRef&, const Cancel&) {
  return {};  // nothing supervises it, and it goes on
}

Result<std::optional<Handle>> ScriptedTarget::find(const RunRef& ref, const Cancel&) {
  TRY_ASSIGN(const auto launch, read_launch(folder(ref.run)));
  if (!launch) return std::nullopt;
  return Handle{{"launched_ms", launch->at_ms}};
}

Result<> ScriptedTarget::watch(std::span<const Watched> runs, EventSink& sink, const Cancel& cancel, Until until) {
  std::vector<Player> players;
  for (const Watched& run : runs) {
    TRY_ASSIGN(auto player, Player::open(run, folder(run.ref.run)));
    players.push_back(std::move(player));
  }
  while (!cancel.requested()) {
    const std::int64_t now = clock_();
    for (Player& player : players) TRY(player.advance(now, sink));
    if (std::all_of(players.begin(), players.end(), [](const Player& one) { return one.ended(); })) return {};
    if (until != Until::ended) return tell_current(players, sink);
    if (cancel.wait_ms(wait_for(players, now))) return {};
  }
  return {};
}

Result<> ScriptedTarget::stop(const RunRef& ref, const StopPlan& plan, const Cancel& cancel) {
  TRY_ASSIGN(const auto handle, find(ref, cancel));
  if (!handle) return fail(Errc::not_found, "no run " + ref.run + " was launched on this target");
  const Json stop = {{"at_ms", clock_()}, {"request", plan.request}, {"reason", plan.reason}};
  TRY(base::create_exclusive(folder(ref.run) / "stop.json", base::dump_json(stop)));  // the first wish counts
  return {};
}

Result<Collected> ScriptedTarget::collect(const RunRef&, const CollectPlan&, const Cancel&) {
  return Collected{};
}

Result<> ScriptedTarget::remove(const RunRef& ref, const Cancel&) {
  return base::remove_tree(folder(ref.run));
}

Result<FileDigest> ScriptedTarget::digest(const RunRef&, const std::string&, const Cancel&) {
  return fail(Errc::invalid, "a scripted target keeps no files");
}

Result<Json> ScriptedTarget::clean(bool, const Cancel&) {
  return Json{{"runs", 0}, {"kept", Json::array()}, {"bytes", 0}};  // what it keeps goes with the runs
}

}  // namespace trainctl::target
