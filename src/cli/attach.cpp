// SPDX-License-Identifier: Apache-2.0
#include "cli/attach.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/output.hpp"
#include "cli/run_summary.hpp"
#include "cli/signals.hpp"
#include "cli/status_line.hpp"
#include "cli/timed_lines.hpp"
#include "cli/transfer.hpp"
#include "engine/follow.hpp"
#include "engine/live_view.hpp"
#include "engine/mirroring.hpp"
#include "engine/supervision.hpp"
#include "format/event.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "host/linux/process.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

constexpr std::uint64_t kChunk = 256U << 10U;
constexpr int kPipeBytes = 1 << 20;          // what an unprivileged process may ask for
constexpr std::uint64_t kGust = 64U << 10U;  // so much at once, and more is coming
constexpr int kGustMs = 4;                   // then it is looked at after so long
constexpr int kPromptMs = 5000;
constexpr std::uint64_t kAdoptEveryNs = 1'000'000'000;
constexpr std::uint64_t kUnreadNs = 5'000'000'000;   // so much later than their size bytes may come
constexpr std::uint64_t kTroubleNs = 2'000'000'000;  // a cut that is mended sooner is not worth a word

enum class Outcome { going_on, ended, left, failed };

/// One attached session.
class Session {
 public:
  Session(Context& context, const archive::Store& store, std::string id, const AttachOptions& options)
      : context_(context), run_(store.run(id)), id_(std::move(id)), options_(options), status_(context, run_) {}

  int run();

 private:
  Result<> open();
  Outcome step();
  int leave();
  Outcome show_growth(const engine::Growth& growth);
  Outcome keep_supervised();
  Outcome hear_of_target();
  Outcome hear_of_room(const engine::Mirroring::Trouble& trouble);
  [[nodiscard]] std::string target_name() const { return printable(mirroring_->target_name()); }
  void wait();
  /// Nothing comes any more, and all could be read.
  [[nodiscard]] bool is_through(const engine::Growth& growth) const { return growth.finished && unread_since_ == 0; }
  Result<> show_logs(const engine::Growth& growth);
  void show_live();
  void print_log(int attempt, int epoch, std::uint64_t offset, const std::string& bytes);
  void write_shown(const std::string& text);
  /// Times and a chosen attempt are shown from the copy alone.
  [[nodiscard]] bool shows_live() const { return !options_.environment && !timed_ && !options_.attempt; }
  void show_bytes(int attempt, std::uint64_t offset, std::string_view bytes);
  void announce_attempt(int attempt);
  [[nodiscard]] engine::LogRange behind_live(engine::LogRange range) const;
  Result<std::uint64_t> show(const engine::LogRange& range);
  Result<std::uint64_t> show_json(const engine::LogRange& range);
  Result<std::uint64_t> show_filtered(const engine::LogRange& range);
  std::uint64_t send_raw(const engine::LogRange& range);
  void leave_for_later(const engine::LogRange& range, std::uint64_t size);
  void show_environment_log();
  void announce_state();
  void tell_retry(int attempt);
  Outcome on_signal(int number);
  Outcome ask();
  void cancel(const std::string& reason);
  int code() const;
  [[nodiscard]] std::string name() const { return status_.name(); }

  Context& context_;
  format::RunPaths run_;
  std::string id_;
  AttachOptions options_;
  StatusLine status_;
  std::optional<engine::Follower> follower_;
  std::optional<SignalInbox> signals_;
  std::unique_ptr<engine::Mirroring> mirroring_;  ///< behind the signals: its thread must not get them
  bool told_trouble_ = false;
  bool told_no_room_ = false;
  int live_attempt_ = 0;  ///< up to here the log was shown, from its copy or without
  std::uint64_t live_offset_ = 0;
  TerminalFilter filter_;
  std::optional<TimedLines> timed_;  ///< when lines are shown with their times
  format::State shown_state_ = format::State::created;
  int shown_attempt_ = 1;
  int first_seen_ = 0;  ///< the attempt that was the last one when this began
  int told_retry_ = 0;  ///< … of which it was told that another one follows
  std::string shown_message_;
  std::uint64_t environment_offset_ = 0;
  int environment_attempt_ = 0;
  std::uint64_t unread_since_ = 0;  ///< there is nothing yet where the log should go on; 0 = all could be read
  std::uint64_t last_adoption_ = 0;
  bool gust_ = false;  ///< much came at once
  bool canceled_here_ = false;
  std::optional<Error> error_;
};

int Session::code() const {
  const format::RunState& state = follower_->state();
  if (options_.pass_exit_code) return pass_through_code(run_);
  return format::exit_code_of(state.state, state.cause);
}

/// How much of the range went out; less when it cannot be read yet, or nobody reads us any more.
std::uint64_t Session::send_raw(const engine::LogRange& range) {
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

void Session::print_log(int attempt, int epoch, std::uint64_t offset, const std::string& bytes) {
  const format::AttemptPaths paths = run_.attempt(attempt);
  const auto log = options_.environment ? paths.environment_log() : paths.log(options_.rank);
  Json line = {
      {"type", "log"}, {"stream", log.filename().string()}, {"attempt", attempt}, {"epoch", epoch}, {"offset", offset}};
  put_bytes(line, bytes);
  context_.print(line);
}

void Session::write_shown(const std::string& text) {
  context_.out.write(text);
  if (!text.empty()) status_.line_open(text.back() != '\n');
}

Result<std::uint64_t> Session::show_json(const engine::LogRange& range) {
  std::uint64_t done = 0;
  while (done < range.size) {
    TRY_ASSIGN(const std::string bytes,
               base::read_range(range.path, range.offset + done, std::min(kChunk, range.size - done)));
    if (bytes.empty()) break;
    print_log(range.attempt, range.epoch, range.offset + done, bytes);
    done += bytes.size();
  }
  context_.out.flush();
  return done;
}

/// Why there is another attempt: its end and the next beginning may come in one piece, and then no state told it.
void Session::tell_retry(int attempt) {
  if (first_seen_ == 0 || attempt < first_seen_ || attempt <= told_retry_) return;
  told_retry_ = attempt;
  const Json end = format::last_end(run_.attempt(attempt).events());
  const std::string why = end.is_null() ? "" : end.value("message", "");
  if (!why.empty()) context_.note(context_.err.paint(Style::dim, name() + " retrying: " + printable(why)));
}

void Session::announce_attempt(int attempt) {
  if (attempt == shown_attempt_) return;
  status_.clear();
  tell_retry(attempt - 1);
  context_.note(context_.err.paint(Style::dim, "attempt " + std::to_string(attempt)));
  shown_attempt_ = attempt;
}

/// Returns how many bytes of the range were shown.
Result<std::uint64_t> Session::show(const engine::LogRange& range) {
  if (context_.json) return timed_ ? timed_->add(range) : show_json(range);
  announce_attempt(range.attempt);
  status_.clear();
  if (timed_) return timed_->add(range);
  return context_.out.is_terminal() ? show_filtered(range) : send_raw(range);
}

Result<std::uint64_t> Session::show_filtered(const engine::LogRange& range) {
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
void Session::leave_for_later(const engine::LogRange& range, std::uint64_t size) {
  const std::uint64_t now = base::mono_ns();
  if (size == 0 || context_.out.closed() || (unread_since_ != 0 && now - unread_since_ > kUnreadNs)) {
    unread_since_ = 0;
    return;
  }
  if (unread_since_ == 0 || size < range.size) unread_since_ = now;
  follower_->give_back(range, size);
}

void Session::show_environment_log() {
  const int attempt = follower_->state().attempt;
  if (attempt == 0 || context_.quiet || options_.environment) return;
  if (std::exchange(environment_attempt_, attempt) != attempt) environment_offset_ = 0;
  const auto path = run_.attempt(attempt).environment_log();
  const std::uint64_t size = base::file_size(path).value_or(0);
  if (size <= environment_offset_) return;
  const auto bytes = base::read_range(path, environment_offset_, size - environment_offset_);
  if (!bytes) return;
  const std::uint64_t offset = std::exchange(environment_offset_, environment_offset_ + bytes->size());
  if (context_.json) {
    Json line = {
        {"type", "log"}, {"stream", path.filename().string()}, {"attempt", attempt}, {"epoch", 1}, {"offset", offset}};
    put_bytes(line, *bytes);
    context_.print(line);
    return context_.out.flush();
  }
  status_.clear();
  TerminalFilter filter;
  context_.err.write(context_.err.is_terminal() ? filter.filter(*bytes) : *bytes);
  context_.err.flush();
}

void Session::announce_state() {
  const format::RunState& state = follower_->state();
  if (first_seen_ == 0) first_seen_ = state.attempt;
  if (state.state == format::State::retrying && !state.message.empty()) told_retry_ = state.attempt;
  status_.state(state);
  if (context_.json && state.state != shown_state_) {
    context_.print({{"type", "state"},
                    {"id", id_},
                    {"state", format::to_string(state.state)},
                    {"attempt", state.attempt},
                    {"message", state.message}});
    context_.out.flush();
  }
  const bool worth_a_line = state.state == format::State::queued || state.state == format::State::retrying;
  if (worth_a_line && !context_.json && (state.state != shown_state_ || state.message != shown_message_)) {
    status_.clear();
    std::string text = name() + " " + std::string(format::to_string(state.state));
    if (!state.message.empty()) text += ": " + printable(state.message);
    context_.note(context_.err.paint(Style::dim, text));
  }
  shown_state_ = state.state;
  shown_message_ = state.message;
}

void Session::cancel(const std::string& reason) {
  canceled_here_ = true;
  auto requested = mirroring_ ? mirroring_->cancel(run_, reason) : engine::request_cancel(run_, reason);
  if (!requested) {
    error_ = requested.error();
    return;
  }
  if (mirroring_ && mirroring_->trouble(run_))
    context_.note("the wish is kept and told as soon as " + printable(mirroring_->target_name()) + " answers");
  // A run whose supervisor died hears the request only when somebody adopts it.
  if (auto supervised = engine::ensure_supervised(run_, engine::Start::adopt_only); !supervised)
    error_ = supervised.error();
}

Outcome Session::ask() {
  status_.clear();
  context_.err.write(name() + " goes on. " + context_.err.paint(Style::bold, "[d]") + "etach (in 5 s)  " +
                     context_.err.paint(Style::bold, "[c]") + "ancel  " + context_.err.paint(Style::bold, "[w]") +
                     "atch ");
  context_.err.flush();
  const int key = ask_key(*signals_, "dDcCwW", kPromptMs);
  context_.err.line("");
  if (key == 'w' || key == 'W') return Outcome::going_on;
  if (key == -1 || key == 'c' || key == 'C') {
    context_.note("canceling " + name() + "; Ctrl-C again leaves it to itself");
    cancel("canceled from the terminal");
    return Outcome::going_on;
  }
  context_.note(name() + " goes on; trainctl attach " + name() + " comes back to it, trainctl cancel " + name() +
                " ends it");
  return Outcome::left;
}

Outcome Session::on_signal(int number) {
  if (number == SIGWINCH) return Outcome::going_on;
  if (number == SIGHUP || options_.only_reads) return Outcome::left;
  if (canceled_here_) {
    const auto now = format::fold_run(run_);  // the wish may be younger than what was followed
    const bool heard = now && now->open_requests.empty();
    context_.note(heard ? name() + " is being stopped; trainctl attach " + name() + " comes back to it"
                        : name() + " has not confirmed the cancel yet; the wish is kept: trainctl wait " + name());
    return Outcome::left;
  }
  if (!is_interactive()) {
    context_.note("canceling " + name());
    cancel(number == SIGINT ? "interrupted (SIGINT)" : "interrupted (SIGTERM)");
    return Outcome::going_on;
  }
  if (number == SIGTERM) return Outcome::left;
  if (follower_->state().attempt == 0) {
    cancel("canceled before the start");
    return Outcome::going_on;
  }
  return ask();
}

Result<> Session::show_logs(const engine::Growth& growth) {
  gust_ = false;
  for (const engine::LogRange& grown : growth.logs) {
    const engine::LogRange range = behind_live(grown);
    if (range.size == 0) continue;
    TRY_ASSIGN(const std::uint64_t shown, show(range));
    gust_ = gust_ || shown >= kGust;
    leave_for_later(range, range.size - shown);
    live_attempt_ = range.attempt;
    live_offset_ = range.offset + shown;
  }
  if (!timed_ || !timed_->holds()) return {};
  status_.clear();
  return is_through(growth) ? timed_->finish() : timed_->settle();
}

/// What was shown while there was no room for it is not shown again when its copy goes on.
engine::LogRange Session::behind_live(engine::LogRange range) const {
  if (range.attempt > live_attempt_ || range.epoch > 1) return range;
  const std::uint64_t end = range.offset + range.size;
  const std::uint64_t begin = range.attempt < live_attempt_ ? end : std::min(end, std::max(range.offset, live_offset_));
  range.size = end - begin;
  range.offset = begin;
  return range;
}

/// The log that comes while there is no room for its copy.
void Session::show_live() {
  if (!mirroring_ || mirroring_->live() == nullptr) return;
  for (const engine::LivePiece& piece : mirroring_->live()->take()) {
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

void Session::show_bytes(int attempt, std::uint64_t offset, std::string_view bytes) {
  if (context_.json) {
    print_log(attempt, 1, offset, std::string(bytes));
  } else {
    announce_attempt(attempt);
    status_.clear();
    write_shown(context_.out.is_terminal() ? filter_.filter(std::string(bytes)) : std::string(bytes));
  }
  context_.out.flush();
}

Outcome Session::show_growth(const engine::Growth& growth) {
  // The end is told behind the last of the log, everything else before what it leads to.
  const bool ends = format::is_terminal(follower_->state().state);
  if (growth.state_changed && !ends) announce_state();
  show_environment_log();
  if (auto shown = show_logs(growth); !shown) {
    error_ = shown.error();
    return Outcome::failed;
  }
  if (ends && shown_state_ != follower_->state().state && !follower_->more() && unread_since_ == 0) announce_state();
  if (context_.out.closed()) return Outcome::ended;
  return is_through(growth) || (!options_.follow && !follower_->more()) ? Outcome::ended : Outcome::going_on;
}

/// A supervisor that died is replaced by whoever watches.
Outcome Session::keep_supervised() {
  if (mirroring_) return Outcome::going_on;  // its target looks after the run there
  const std::uint64_t now = base::mono_ns();
  if (!options_.follow || now - last_adoption_ <= kAdoptEveryNs) return Outcome::going_on;
  last_adoption_ = now;
  const auto start = options_.may_start ? engine::Start::allowed : engine::Start::adopt_only;
  if (auto supervised = engine::ensure_supervised(run_, start); !supervised) {
    error_ = supervised.error();
    return Outcome::failed;
  }
  return Outcome::going_on;
}

Outcome Session::step() {
  for (int number = signals_->take(); number != 0; number = signals_->take()) {
    if (const Outcome outcome = on_signal(number); outcome != Outcome::going_on) return outcome;
  }
  auto growth = follower_->poll_growth();
  if (!growth) {
    error_ = growth.error();
    return Outcome::failed;
  }
  if (const Outcome outcome = show_growth(*growth); outcome != Outcome::going_on) return outcome;
  show_live();
  if (error_) return Outcome::failed;
  if (const Outcome outcome = hear_of_target(); outcome != Outcome::going_on) return outcome;
  return keep_supervised();
}

/// A full disk here is no reason not to show what comes; only the end cannot be told without its record.
Outcome Session::hear_of_room(const engine::Mirroring::Trouble& trouble) {
  if (trouble.over) {
    show_live();
    error_ = trouble.error;
    error_->message = "the end of " + name() + " cannot be recorded here: " + error_->message;
    error_->hint = "free some disk space (or quota), then trainctl sync: everything is still on " + target_name();
    return Outcome::failed;
  }
  status_.trouble("no room here: what is shown is not kept");
  if (std::exchange(told_no_room_, true)) return Outcome::going_on;
  status_.clear();
  std::string why = trouble.error.message;
  if (!trouble.error.context.empty()) why += " (" + trouble.error.context.front() + ")";
  context_.warn("what is shown from here on is not kept: " + printable(why) +
                "; the run is not affected, and is copied when there is room again");
  return Outcome::going_on;
}

/// What is wrong between here and the run's target. Only what trying again cannot mend ends the session: the run goes
/// on whatever the network does.
Outcome Session::hear_of_target() {
  if (!mirroring_) return Outcome::going_on;
  const auto trouble = mirroring_->trouble(run_);
  if (trouble && trouble->here && shows_live()) return hear_of_room(*trouble);
  if (told_no_room_) {
    told_no_room_ = false;
    status_.clear();
    context_.note(context_.err.paint(Style::dim, "there is room again: the log is kept"));
  }
  if (trouble && trouble->error.code != Errc::unavailable) {
    error_ = trouble->error;
    return Outcome::failed;
  }
  const std::string target = target_name();
  const bool long_enough = trouble && base::mono_ns() - trouble->since_ns > kTroubleNs;
  if (long_enough) {
    const auto since = std::chrono::seconds((base::mono_ns() - trouble->since_ns) / 1'000'000'000U);
    status_.trouble(target + " unreachable for " + base::format_duration(since) + ", trying again");
  } else {
    status_.trouble({});
  }
  if (long_enough == told_trouble_ || context_.json) return Outcome::going_on;
  told_trouble_ = long_enough;
  status_.clear();
  context_.note(context_.err.paint(Style::dim, long_enough ? target + ": " + printable(trouble->error.message) +
                                                                 "; the run is not affected, trying again"
                                                           : target + " answers again"));
  return Outcome::going_on;
}

void Session::wait() {
  if (follower_->more()) return;
  status_.draw();
  const int live = mirroring_ && mirroring_->live() != nullptr ? mirroring_->live()->fd() : -1;
  std::array<pollfd, 3> waits = {pollfd{signals_->fd(), POLLIN, 0}, pollfd{follower_->fd(), POLLIN, 0},
                                 pollfd{live, POLLIN, 0}};
  // Where much comes it is not taken piece by piece: each look costs a dozen system calls.
  if (gust_ && ::poll(waits.data(), 1, kGustMs) > 0) return;
  ::poll(waits.data(), waits.size(), follower_->wait_ms());
}

Result<> Session::open() {
  TRY_ASSIGN(auto follower, engine::Follower::open(run_, {.rank = options_.rank,
                                                          .attempt = options_.attempt,
                                                          .first_attempt = options_.first_attempt,
                                                          .from = options_.from,
                                                          .copy = options_.copy,
                                                          .logs = true,
                                                          .environment = options_.environment}));
  follower_.emplace(std::move(follower));
  if (options_.timestamps) timed_.emplace(context_, run_, options_.rank);
  signals_.emplace();
  // Fewer turns between us and a reader of much log. Anything that is no pipe refuses, which is fine.
  (void)::fcntl(context_.out.fd(), F_SETPIPE_SZ, kPipeBytes);
  // A thread of its own: after the launch, which forks, and with the signals already ours.
  TRY_ASSIGN(mirroring_,
             engine::Mirroring::begin(run_, options_.may_start ? engine::Start::allowed : engine::Start::adopt_only,
                                      options_.rank));
  last_adoption_ = options_.may_start ? base::mono_ns() : 0;
  return {};
}

int Session::run() {
  if (auto opened = open(); !opened) return report(context_, opened.error());
  Outcome outcome = Outcome::going_on;
  while (outcome == Outcome::going_on) {
    outcome = step();
    if (outcome == Outcome::going_on) wait();
  }
  status_.clear();
  if (timed_ && outcome != Outcome::failed) {
    if (auto shown = timed_->finish(); !shown) return report(context_, shown.error());
  }
  status_.finish_line();
  context_.out.flush();
  if (outcome == Outcome::left) return 130;
  if (outcome == Outcome::failed) return report(context_, *error_);
  return leave();
}

/// Everything was shown, or nobody reads it any more.
int Session::leave() {
  const bool ended = format::is_terminal(follower_->state().state);
  if (context_.out.closed()) {
    if (!ended)
      context_.note(name() + " goes on, its output has no reader any more; trainctl attach " + name() +
                    " comes back to it");
    return 0;
  }
  if (!ended) return 0;
  if (options_.follow && options_.collect) {
    signals_.reset();  // a signal ends us as usual: what came of the outputs stays, and the run has ended
    collect_home(context_, run_);
  }
  if (options_.summary) print_summary(context_, run_, follower_->state());
  return code();
}

}  // namespace

int attach(Context& context, const archive::Store& store, const std::string& id, const AttachOptions& options) {
  return Session(context, store, id, options).run();
}

int pass_through_code(const format::RunPaths& run) {
  const auto state = format::fold_run(run);
  if (!state) return 125;
  switch (state->state) {
    case format::State::succeeded:
      return 0;
    case format::State::timed_out:
      return 124;
    case format::State::canceled:
      return 130;
    default:
      break;
  }
  // On a full disk the command exited by itself too.
  constexpr std::array kItsOwn = {format::Cause::exit, format::Cause::start, format::Cause::disk_full};
  if (state->exit_code &&
      (!state->cause || std::find(kItsOwn.begin(), kItsOwn.end(), *state->cause) != kItsOwn.end())) {
    return *state->exit_code;
  }
  if (const auto number = host::signal_number(state->signal)) return 128 + *number;
  return 125;
}

}  // namespace trainctl::cli
