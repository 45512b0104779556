// SPDX-License-Identifier: Apache-2.0
#include "cli/log_screen.hpp"

#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "cli/attach.hpp"
#include "cli/output.hpp"
#include "cli/status_line.hpp"
#include "engine/follow.hpp"
#include "engine/live_view.hpp"
#include "format/event.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

constexpr std::uint64_t kChunk = 256U << 10U;
constexpr std::uint64_t kGust = 64U << 10U;         // so much at once, and more is coming
constexpr std::uint64_t kUnreadNs = 5'000'000'000;  // so much later than their size bytes may come

}  // namespace

LogScreen::LogScreen(Context& context, const format::RunPaths& run, const AttachOptions& options, StatusLine& status)
    : context_(context), run_(run), options_(options), status_(status) {
  if (options.timestamps) timed_.emplace(context, run, options.rank);
}

std::filesystem::path LogScreen::shown_log(int attempt) const {
  const format::AttemptPaths paths = run_.attempt(attempt);
  return options_.environment ? paths.environment_log() : paths.log(options_.rank);
}

void LogScreen::hear_of_state(const format::RunState& state) {
  if (first_seen_ == 0) first_seen_ = state.attempt;
  if (state.state == format::State::retrying && !state.message.empty()) told_retry_ = state.attempt;
}

Result<> LogScreen::finish() {
  return timed_ ? timed_->finish() : Result<>();
}

/// How much of the range went out; less when it cannot be read yet, or nobody reads us any more.
std::uint64_t LogScreen::send_raw(const engine::LogRange& range) {
  context_.out.flush();
  auto offset = static_cast<off_t>(range.offset);
  std::uint64_t left = range.size;
  while (left > 0) {
    const ssize_t sent = ::sendfile(context_.out.fd(), range.fd, &offset, std::min(left, kChunk));
    if (sent > 0) {
      left -= static_cast<std::uint64_t>(sent);
    } else if (sent < 0 && (errno == EINTR || errno == EAGAIN)) {
      continue;
    } else {
      break;
    }
  }
  // What sendfile cannot do (a target opened for appending, a vanished reader) goes the ordinary way.
  std::string buffer(std::min(left, kChunk), '\0');
  while (left > 0 && !context_.out.closed()) {
    const ssize_t count = ::pread(range.fd, buffer.data(), std::min<std::uint64_t>(left, buffer.size()), offset);
    if (count <= 0) break;
    context_.out.write(std::string_view(buffer).substr(0, static_cast<std::size_t>(count)));
    context_.out.flush();
    offset += count;
    left -= static_cast<std::uint64_t>(count);
  }
  return range.size - left;
}

/// Under --json; `log` is a name of the attempt's, its copies are told apart by `epoch`.
void LogScreen::print_log(const std::filesystem::path& log, int attempt, int epoch, std::uint64_t offset,
                          const std::string& bytes) {
  Json line = {
      {"type", "log"}, {"stream", log.filename().string()}, {"attempt", attempt}, {"epoch", epoch}, {"offset", offset}};
  put_bytes(line, bytes);
  context_.print(line);
}

void LogScreen::write_shown(const std::string& text) {
  context_.out.write(text);
  if (!text.empty()) status_.line_open(text.back() != '\n');
}

Result<std::uint64_t> LogScreen::show_json(const engine::LogRange& range) {
  std::uint64_t done = 0;
  while (done < range.size) {
    TRY_ASSIGN(const std::string bytes,
               base::read_range(range.path, range.offset + done, std::min(kChunk, range.size - done)));
    if (bytes.empty()) break;
    print_log(shown_log(range.attempt), range.attempt, range.epoch, range.offset + done, bytes);
    done += bytes.size();
  }
  context_.out.flush();
  return done;
}

/// Why there is another attempt: its end and the next beginning may come in one piece, and then no state told it.
void LogScreen::tell_retry(int attempt) {
  if (first_seen_ == 0 || attempt < first_seen_ || attempt <= told_retry_) return;
  told_retry_ = attempt;
  const Json end = format::last_end(run_.attempt(attempt).events());
  const std::string why = end.is_null() ? "" : end.value("message", "");
  if (!why.empty()) context_.note(context_.err.paint(Style::dim, status_.name() + " retrying: " + printable(why)));
}

void LogScreen::announce_attempt(int attempt) {
  if (attempt == shown_attempt_) return;
  status_.clear();
  tell_retry(attempt - 1);
  context_.note(context_.err.paint(Style::dim, "attempt " + std::to_string(attempt)));
  shown_attempt_ = attempt;
}

/// Returns how many bytes of the range were shown.
Result<std::uint64_t> LogScreen::show_range(const engine::LogRange& range) {
  if (context_.json) return timed_ ? timed_->add(range) : show_json(range);
  announce_attempt(range.attempt);
  status_.clear();
  if (timed_) return timed_->add(range);
  return context_.out.is_terminal() ? show_filtered(range) : send_raw(range);
}

Result<std::uint64_t> LogScreen::show_filtered(const engine::LogRange& range) {
  std::uint64_t done = 0;
  while (done < range.size) {
    TRY_ASSIGN(const std::string bytes,
               base::read_range(range.path, range.offset + done, std::min(kChunk, range.size - done)));
    if (bytes.empty()) break;
    write_shown(filter_.filter(bytes));
    done += bytes.size();
  }
  context_.out.flush();
  return done;
}

/// File servers show a size before the bytes: what could not be read is read again, but not for ever.
void LogScreen::leave_for_later(engine::Follower& follower, const engine::LogRange& range, std::uint64_t size) {
  const std::uint64_t now = base::mono_ns();
  if (size == 0 || context_.out.closed() || (unread_since_ != 0 && now - unread_since_ > kUnreadNs)) {
    unread_since_ = 0;
    return;
  }
  if (unread_since_ == 0 || size < range.size) unread_since_ = now;
  follower.give_back(range, size);
}

void LogScreen::show_environment(const format::RunState& state) {
  const int attempt = state.attempt;
  if (attempt == 0 || context_.quiet || options_.environment) return;
  if (std::exchange(environment_attempt_, attempt) != attempt) environment_offset_ = 0;
  const auto path = run_.attempt(attempt).environment_log();
  const std::uint64_t size = base::file_size(path).value_or(0);
  if (size <= environment_offset_) return;
  const auto bytes = base::read_range(path, environment_offset_, size - environment_offset_);
  if (!bytes) return;
  const std::uint64_t offset = std::exchange(environment_offset_, environment_offset_ + bytes->size());
  if (context_.json) {
    print_log(path, attempt, 1, offset, *bytes);
    return context_.out.flush();
  }
  status_.clear();
  TerminalFilter filter;
  context_.err.write(context_.err.is_terminal() ? filter.filter(*bytes) : *bytes);
  context_.err.flush();
}

Result<> LogScreen::show(engine::Follower& follower, const engine::Growth& growth) {
  gust_ = false;
  for (const engine::LogRange& grown : growth.logs) {
    const engine::LogRange range = behind_live(grown);
    if (range.size == 0) continue;
    TRY_ASSIGN(const std::uint64_t shown, show_range(range));
    gust_ = gust_ || shown >= kGust;
    leave_for_later(follower, range, range.size - shown);
    live_attempt_ = range.attempt;
    live_offset_ = range.offset + shown;
  }
  if (!timed_ || !timed_->holds()) return {};
  status_.clear();
  return growth.finished && has_read_all() ? timed_->finish() : timed_->settle();
}

/// What was shown while there was no room for it is not shown again when its copy goes on.
engine::LogRange LogScreen::behind_live(engine::LogRange range) const {
  if (range.attempt > live_attempt_ || range.epoch > 1) return range;
  const std::uint64_t end = range.offset + range.size;
  const std::uint64_t begin = range.attempt < live_attempt_ ? end : std::min(end, std::max(range.offset, live_offset_));
  range.size = end - begin;
  range.offset = begin;
  return range;
}

void LogScreen::show_live(const std::vector<engine::LivePiece>& pieces) {
  for (const engine::LivePiece& piece : pieces) {
    if (!shows_live() || piece.attempt < live_attempt_) continue;
    if (piece.attempt > live_attempt_) live_offset_ = 0;
    live_attempt_ = piece.attempt;
    const std::uint64_t end = piece.offset + piece.bytes.size();
    if (end <= live_offset_) continue;
    const std::uint64_t begin = std::max(piece.offset, live_offset_);
    show_bytes(piece.attempt, begin, std::string_view(piece.bytes).substr(begin - piece.offset));
    live_offset_ = end;
  }
}

void LogScreen::show_bytes(int attempt, std::uint64_t offset, std::string_view bytes) {
  if (context_.json) {
    print_log(shown_log(attempt), attempt, 1, offset, std::string(bytes));
  } else {
    announce_attempt(attempt);
    status_.clear();
    write_shown(context_.out.is_terminal() ? filter_.filter(std::string(bytes)) : std::string(bytes));
  }
  context_.out.flush();
}

}  // namespace trainctl::cli
