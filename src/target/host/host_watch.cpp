// SPDX-License-Identifier: Apache-2.0
#include "target/host/host_watch.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/clock.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "host/stdio/frame.hpp"
#include "target/cancel.hpp"
#include "target/host/runner_client.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

using host::Frame;
using host::FrameType;
constexpr std::chrono::seconds kPatience{60};
constexpr std::chrono::milliseconds kFirstCare{2'000};
constexpr std::chrono::milliseconds kCareEvery{10'000};
constexpr std::chrono::milliseconds kCareOfEach{50};  ///< longer for each run: to look after 200 costs both sides
constexpr std::chrono::milliseconds kCareAtLeast{25'000};

using Cursors = std::map<std::string, Cursor>;

Json watch_request(const std::map<std::string, Cursors>& watched, Until until) {
  Json runs = Json::array();
  for (const auto& [run, cursors] : watched) {
    Json wanted = Json::object();
    for (const auto& [file, cursor] : cursors) {
      wanted[file] = {{"have", cursor.have}};
      if (!cursor.tail.empty()) wanted[file]["tail"] = cursor.tail;
    }
    runs.push_back({{"run", run}, {"cursors", std::move(wanted)}});
  }
  return {
      {"op", "watch"}, {"runs", std::move(runs)}, {"follow", until == Until::ended}, {"logs", until != Until::state}};
}

/// Of what a fetch would bring. A runner that hashes nothing itself sends it all.
Result<FileDigest> digest_of(RunnerClient& client, Json fetch, const Cancel& cancel) {
  fetch["digest"] = true;
  TRY_ASSIGN(auto stream, client.open(fetch));
  base::Sha256 hash;
  FileDigest digest;
  for (;;) {
    TRY_ASSIGN(const Frame frame, stream.next(cancel));
    if (frame.type == FrameType::end) {
      TRY_ASSIGN(const Json end, base::parse_json(frame.payload));
      if (!end.contains("sha256")) {
        digest.sha256 = hash.finish_hex();
      } else {
        digest = {.size = end.value("bytes", std::uint64_t{0}), .sha256 = end.value("sha256", "")};
      }
      return digest;
    }
    if (frame.type != FrameType::data) continue;
    hash.update(frame.payload);
    digest.size += frame.payload.size();
    stream.consumed(frame.payload.size());
  }
}

Result<std::string> source_hash(RunnerClient& client, const std::string& run, const std::string& file,
                                std::uint64_t offset, std::uint64_t count, const Cancel& cancel) {
  TRY_ASSIGN(
      auto digest,
      digest_of(client, {{"op", "fetch"}, {"run", run}, {"file", file}, {"offset", offset}, {"count", count}}, cancel));
  return std::move(digest.sha256);
}

class Watching {
 public:
  Watching(RunnerClient& client, std::span<const Watched> runs, EventSink& sink, const Cancel& cancel, Until until)
      : client_(client), sink_(sink), cancel_(cancel), until_(until) {
    for (const Watched& one : runs) runs_[one.ref.run] = one.cursors;
  }

  Result<> watch(std::optional<RunnerStream> begun) {
    if (!begun) {
      TRY_ASSIGN(begun, begin());
    }
    for (;;) {
      TRY_ASSIGN(const bool over, follow(*begun));
      begun.reset();
      if (over || runs_.empty()) return {};
      TRY_ASSIGN(begun, client_.open(request()));
    }
  }

 private:
  [[nodiscard]] Json request() const { return watch_request(runs_, until_); }

  [[nodiscard]] Json adopt_request() const {
    Json runs = Json::array();
    for (const auto& [run, cursors] : runs_) runs.push_back(run);
    return {{"op", "adopt"}, {"runs", std::move(runs)}};
  }

  /// Both are asked for at once: a round trip less until the first word.
  Result<RunnerStream> begin() {
    if (!client_.offers("adopt")) return client_.open(request());
    TRY_ASSIGN(auto adopted, client_.open(adopt_request()));
    TRY_ASSIGN(auto stream, client_.open(request()));
    TRY(adopted.next(cancel_, kPatience));
    return stream;
  }

  /// Takes frames until the stream has ended (true) or has to be opened anew.
  Result<bool> follow(RunnerStream& stream) {
    for (;;) {
      if (base::mono_ns() >= next_care_ns_) TRY(look_after_runs());
      TRY_ASSIGN(const bool there, stream.wait(cancel_, kCareEvery));
      if (!there) continue;
      TRY_ASSIGN(const Frame frame, stream.next(cancel_));
      if (frame.type == FrameType::end) return true;
      if (frame.type == FrameType::data) {
        TRY(append(frame.payload));
        stream.consumed(frame.payload.size());
        continue;
      }
      TRY_ASSIGN(const Json note, base::parse_json(frame.payload));
      TRY_ASSIGN(const bool goes_on, take_note(note));
      if (!goes_on) return false;
    }
  }

  /// A supervisor that died is replaced by whoever watches.
  Result<> look_after_runs() {
    if (client_.offers("adopt")) TRY(client_.request(adopt_request(), cancel_));
    for (const auto& [run, cursors] : runs_) TRY(sink_.current(run));
    const auto pause =
        std::min<std::chrono::milliseconds>(kCareEvery + kCareOfEach * static_cast<int>(runs_.size()), kCareAtLeast);
    next_care_ns_ = base::mono_ns() + static_cast<std::uint64_t>(pause.count()) * 1'000'000;
    return {};
  }

  Result<> append(const std::string& bytes) {
    TRY(sink_.append({.run = run_, .file = file_, .offset = offset_, .bytes = bytes}));
    offset_ += bytes.size();
    runs_[run_][file_] = {.have = offset_};
    return {};
  }

  Result<bool> take_note(const Json& note) {
    const std::string run = note.value("run", "");
    if (!runs_.contains(run)) return fail(Errc::invalid, "the runner tells of a run that nobody asked for");
    if (const auto observed = note.find("observed"); observed != note.end()) {
      TRY(sink_.observed(run, *observed));
      return true;
    }
    if (note.contains("ended") || note.contains("missing") || note.contains("current")) {
      runs_.erase(run);
      if (note.contains("missing")) TRY(sink_.missing(run));
      if (note.contains("current")) TRY(sink_.current(run));
      if (note.contains("ended")) TRY(sink_.ended(run));
      return true;
    }
    const std::string file = note.value("file", "");
    if (!note.contains("mismatch")) {
      run_ = run;
      file_ = file;
      offset_ = note.value("offset", std::uint64_t{0});
      return true;
    }
    const SourceHash hash = [&](std::uint64_t offset, std::uint64_t count) {
      return source_hash(client_, run, file, offset, count, cancel_);
    };
    TRY_ASSIGN(runs_[run][file], sink_.mismatch(run, file, note.value("size", std::uint64_t{0}), hash));
    return false;
  }

  RunnerClient& client_;
  EventSink& sink_;
  const Cancel& cancel_;
  Until until_;
  std::map<std::string, Cursors> runs_;  ///< those that have not ended, and how far their copies are
  std::string run_, file_;
  std::uint64_t offset_ = 0;
  std::uint64_t next_care_ns_ = base::mono_ns() + static_cast<std::uint64_t>(kFirstCare.count()) * 1'000'000;
};

}  // namespace

Result<RunnerStream> begin_watch(RunnerClient& client, const std::string& run) {
  return client.open(watch_request({{run, {}}}, Until::ended));
}

Result<> watch_host(RunnerClient& client, std::span<const Watched> runs, EventSink& sink, const Cancel& cancel,
                    Until until, std::optional<RunnerStream> begun) {
  auto watched = Watching(client, runs, sink, cancel, until).watch(std::move(begun));
  if (!watched && watched.error().code == Errc::canceled && cancel.requested()) return {};
  return watched;
}

Result<FileDigest> digest_on_host(RunnerClient& client, const std::string& run, const std::string& file,
                                  const Cancel& cancel) {
  return digest_of(client, {{"op", "fetch"}, {"run", run}, {"file", file}}, cancel);
}

}  // namespace trainctl::target
