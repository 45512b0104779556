// SPDX-License-Identifier: Apache-2.0
#include "engine/mirroring.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "archive/mirror.hpp"
#include "engine/supervision.hpp"
#include "format/fold.hpp"

namespace trainctl::engine {
namespace {

constexpr int kFirstPauseMs = 250;
constexpr int kLongestPauseMs = 5000;

class MirrorSink final : public target::EventSink {
 public:
  explicit MirrorSink(archive::Mirror& mirror) : mirror_(mirror) {}

  Result<> append(const target::Piece& piece) override {
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
  MirrorSink sink(*mirror);
  return target_->watch(std::span(&watched, 1), sink, cancel_);
}

/// Unknown is not failed: a broken connection changes nothing about the run, so it is only tried again.
void Mirroring::loop() {
  int pause = kFirstPauseMs;
  while (!cancel_.requested()) {
    if (once()) return;
    if (cancel_.wait_ms(pause)) return;
    pause = std::min(pause * 2, kLongestPauseMs);
  }
}

}  // namespace trainctl::engine
