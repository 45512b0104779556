// SPDX-License-Identifier: Apache-2.0
#include "engine/mirroring.hpp"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

#include "archive/mirror.hpp"
#include "engine/supervision.hpp"
#include "format/fold.hpp"

namespace trainctl::engine {
namespace {

constexpr int kFirstPauseMs = 250;
constexpr int kLongestPauseMs = 5000;

class MirrorSink final : public target::EventSink {
 public:
  MirrorSink(archive::Mirror& mirror, std::function<void()> on_growth)
      : mirror_(mirror), on_growth_(std::move(on_growth)) {}

  Result<> append(const target::Piece& piece) override {
    if (on_growth_) std::exchange(on_growth_, {})();
    return mirror_.write(piece.file, piece.offset, piece.bytes, piece.next_token);
  }
  Result<target::Cursor> mismatch(std::string_view, std::string_view file, std::uint64_t size,
                                  const target::SourceHash& hash) override {
    TRY_ASSIGN(auto cursor, mirror_.reconcile(file, size, [&hash](std::uint64_t count) { return hash(0, count); }));
    return target::Cursor{.have = cursor.have, .tail = std::move(cursor.tail), .token = std::move(cursor.token)};
  }
  Result<> gap(std::string_view, std::string_view file, std::uint64_t lines) override {
    return mirror_.note_gap(file, lines);
  }
  Result<> observed(std::string_view, const Json& observation) override { return mirror_.observe(observation); }
  Result<> ended(std::string_view) override { return {}; }

 private:
  archive::Mirror& mirror_;
  std::function<void()> on_growth_;  ///< called once
};

}  // namespace

Result<std::unique_ptr<Mirroring>> Mirroring::begin(const format::RunPaths& run) {
  TRY_ASSIGN(const format::Plan plan, format::read_plan(run.plan()));
  TRY_ASSIGN(auto target, target_of(run, plan));
  if (target->capabilities().in_place) return nullptr;
  TRY_ASSIGN(auto cancel, target::Cancel::create());
  return std::unique_ptr<Mirroring>(new Mirroring(run, std::move(target), std::move(cancel)));
}

Mirroring::Mirroring(format::RunPaths run, std::unique_ptr<target::Target> target, target::Cancel cancel)
    : run_(std::move(run)), target_(std::move(target)), cancel_(std::move(cancel)), thread_([this] { loop(); }) {}

Mirroring::~Mirroring() {
  cancel_.request();
  thread_.join();
}

Result<> Mirroring::once() {
  TRY_ASSIGN(auto mirror, archive::Mirror::open(run_));
  if (!mirror) return fail(Errc::unavailable, "another process mirrors this run");
  target::Watched watched;
  TRY_ASSIGN(watched.ref, reference(run_));
  TRY_ASSIGN(const auto cursors, mirror->cursors());
  for (const auto& [file, cursor] : cursors)
    watched.cursors[file] = {.have = cursor.have, .tail = cursor.tail, .token = cursor.token};
  MirrorSink sink(*mirror, [this] { set_trouble({}); });
  return target_->watch(std::span(&watched, 1), sink, cancel_);
}

std::optional<Error> Mirroring::trouble() const {
  const std::scoped_lock lock(mutex_);
  return trouble_;
}

void Mirroring::set_trouble(std::optional<Error> trouble) {
  const std::scoped_lock lock(mutex_);
  trouble_ = std::move(trouble);
}

/// Unknown is not failed: a broken connection changes nothing about the run, so it is only tried again. A changed host
/// key and the like stay until somebody does something.
void Mirroring::loop() {
  int pause = kFirstPauseMs;
  while (!cancel_.requested()) {
    auto watched = once();
    if (watched) return;
    const bool temporary = watched.error().code == Errc::unavailable;
    // Somebody else who copies is no trouble.
    if (watched.error().retryable || !temporary) set_trouble(std::move(watched).error());
    if (!temporary) return;
    if (cancel_.wait_ms(pause)) return;
    pause = std::min(pause * 2, kLongestPauseMs);
  }
}

}  // namespace trainctl::engine
