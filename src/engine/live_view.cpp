// SPDX-License-Identifier: Apache-2.0
#include "engine/live_view.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "engine/supervision.hpp"
#include "format/paths.hpp"
#include "target/cancel.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

constexpr std::size_t kMostBytes = std::size_t{4}
                                   << 20U;   ///< that wait for who shows them; the sender waits for the rest
constexpr std::uint64_t kTail = 64U << 10U;  ///< as target::Cursor says
constexpr std::uint64_t kProbeEveryNs = 2'000'000'000;
constexpr std::size_t kEnough = std::size_t{256} << 10U;  ///< so that the copy does not stop again at once
constexpr auto kLookEvery = std::chrono::milliseconds(200);

}  // namespace

bool has_room(const format::RunPaths& run) {
  const auto probe = run.clients() / ".room";
  const bool written = base::write_file_atomic(probe, std::string(kEnough, '\0')).has_value();
  ::unlink(probe.c_str());
  return written;
}

int LiveView::attempt_of(std::string_view file) const {
  constexpr std::string_view kAttempts = "attempts/";
  if (!file.starts_with(kAttempts)) return 0;
  int attempt = 0;
  const char* const end = file.data() + file.size();
  if (std::from_chars(file.data() + kAttempts.size(), end, attempt).ec != std::errc()) return 0;
  return run_.root / file == run_.attempt(attempt).log(rank_) ? attempt : 0;
}

/// Where the copies of this log end, so that it is not sent again from its start.
std::map<std::string, target::Cursor> LiveView::copied() const {
  std::map<std::string, target::Cursor> cursors;
  for (int attempt = 1; base::exists(run_.attempt(attempt).root); ++attempt) {
    const auto path = run_.attempt(attempt).log(rank_);
    const std::uint64_t have = base::file_size(path).value_or(0);
    const std::uint64_t count = std::min(have, kTail);
    const auto tail = base::read_range(path, have - count, count);
    if (have == 0 || !tail) continue;
    cursors[path.lexically_relative(run_.root).generic_string()] = {.have = have, .tail = base::sha256_hex(*tail)};
  }
  return cursors;
}

Result<bool> LiveView::watch(target::Target& target, const target::Cancel& cancel) {
  cancel_ = &cancel;
  ended_ = room_ = false;
  TRY_ASSIGN(const target::RunRef ref, reference(run_));
  const std::vector<target::Watched> runs = {{.ref = ref, .cursors = copied()}};
  const auto watched = target.watch(runs, *this, cancel, target::Until::ended);
  if (!watched && !room_) return fail(watched.error());
  return ended_;
}

std::vector<LivePiece> LiveView::take() {
  std::uint64_t count = 0;
  (void)!::read(event_.get(), &count, sizeof count);
  const std::lock_guard lock(mutex_);
  bytes_ = 0;
  taken_.notify_all();
  return std::exchange(pieces_, {});
}

Result<> LiveView::append(const target::Piece& piece) {
  TRY(give_up_with_room());
  const int attempt = attempt_of(piece.file);
  if (attempt == 0) return {};
  std::unique_lock lock(mutex_);
  while (bytes_ >= kMostBytes && !cancel_->requested()) taken_.wait_for(lock, kLookEvery);
  pieces_.push_back({.attempt = attempt, .offset = piece.offset, .bytes = std::string(piece.bytes)});
  bytes_ += piece.bytes.size();
  const std::uint64_t one = 1;
  (void)!::write(event_.get(), &one, sizeof one);
  return {};
}

Result<target::Cursor> LiveView::mismatch(std::string_view, std::string_view, std::uint64_t,
                                          const target::SourceHash&) {
  return target::Cursor{};
}

Result<> LiveView::ended(std::string_view) {
  ended_ = true;
  return {};
}

Result<> LiveView::current(std::string_view) {
  return give_up_with_room();
}

/// An error that ends the watch: the copy can go on.
Result<> LiveView::give_up_with_room() {
  const std::uint64_t now = base::mono_ns();
  if (now - probed_ns_ < kProbeEveryNs) return {};
  probed_ns_ = now;
  room_ = has_room(run_);
  return room_ ? fail(Errc::canceled, "there is room again") : Result<>();
}

}  // namespace trainctl::engine
