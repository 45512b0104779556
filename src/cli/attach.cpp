// SPDX-License-Identifier: Apache-2.0
#include "cli/attach.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/log_screen.hpp"
#include "cli/output.hpp"
#include "cli/run_summary.hpp"
#include "cli/signals.hpp"
#include "cli/status_line.hpp"
#include "cli/transfer.hpp"
#include "engine/follow.hpp"
#include "engine/live_view.hpp"
#include "engine/mirroring.hpp"
#include "engine/supervision.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "host/linux/process.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

constexpr int kPipeBytes = 1 << 20;  // what an unprivileged process may ask for
constexpr int kGustMs = 4;           // then it is looked at after so long
constexpr int kPromptMs = 5000;
constexpr std::uint64_t kAdoptEveryNs = 1'000'000'000;
constexpr std::uint64_t kTroubleNs = 2'000'000'000;  // a cut that is mended sooner is not worth a word

enum class Outcome { going_on, ended, left, failed };

/// One attached session.
class Session {
 public:
  Session(Context& context, const archive::Store& store, std::string id, const AttachOptions& options)
      : context_(context),
        run_(store.run(id)),
        id_(std::move(id)),
        options_(options),
        status_(context, run_),
        screen_(context, run_, options_, status_) {}

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
  void show_live();
  void announce_state();
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
  LogScreen screen_;
  std::optional<engine::Follower> follower_;
  std::optional<SignalInbox> signals_;
  std::unique_ptr<engine::Mirroring> mirroring_;  ///< behind the signals: its thread must not get them
  bool told_trouble_ = false;
  bool told_no_room_ = false;
  format::State shown_state_ = format::State::created;
  std::string shown_message_;
  std::uint64_t last_adoption_ = 0;
  bool canceled_here_ = false;
  std::optional<Error> error_;
};

int Session::code() const {
  const format::RunState& state = follower_->state();
  if (options_.pass_exit_code) return pass_through_code(run_);
  return format::exit_code_of(state.state, state.cause);
}

void Session::announce_state() {
  const format::RunState& state = follower_->state();
  screen_.hear_of_state(state);
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

/// The log that comes while there is no room for its copy.
void Session::show_live() {
  if (mirroring_ && mirroring_->live() != nullptr) screen_.show_live(mirroring_->live()->take());
}

Outcome Session::show_growth(const engine::Growth& growth) {
  // The end is told behind the last of the log, everything else before what it leads to.
  const bool ends = format::is_terminal(follower_->state().state);
  if (growth.state_changed && !ends) announce_state();
  screen_.show_environment(follower_->state());
  if (auto shown = screen_.show(*follower_, growth); !shown) {
    error_ = shown.error();
    return Outcome::failed;
  }
  if (ends && shown_state_ != follower_->state().state && !follower_->more() && screen_.has_read_all())
    announce_state();
  if (context_.out.closed()) return Outcome::ended;
  return (growth.finished && screen_.has_read_all()) || (!options_.follow && !follower_->more()) ? Outcome::ended
                                                                                                 : Outcome::going_on;
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
  if (trouble && trouble->here && screen_.shows_live()) return hear_of_room(*trouble);
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
  if (screen_.in_gust() && ::poll(waits.data(), 1, kGustMs) > 0) return;
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
  if (outcome != Outcome::failed) {
    if (auto shown = screen_.finish(); !shown) return report(context_, shown.error());
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
