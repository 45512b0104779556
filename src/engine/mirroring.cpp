// SPDX-License-Identifier: Apache-2.0
#include "engine/mirroring.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "archive/contact.hpp"
#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/json.hpp"
#include "engine/live_view.hpp"
#include "engine/mirror_pass.hpp"
#include "engine/supervision.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/plan_target.hpp"
#include "format/state.hpp"
#include "host/adoption.hpp"
#include "host/linux/process.hpp"
#include "target/cancel.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

constexpr int kFirstPauseMs = 250;
constexpr int kLongestPauseMs = 5000;

}  // namespace

Result<std::unique_ptr<Mirroring>> Mirroring::begin(const format::RunPaths& run, Start start, int shown) {
  base::UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return fail_errno("make an event", errno);
  return begin_group({run}, start, std::make_unique<LiveView>(run, shown, std::move(event)));
}

Result<std::vector<std::unique_ptr<Mirroring>>> Mirroring::begin_all(const std::vector<format::RunPaths>& runs) {
  std::map<std::string, std::vector<format::RunPaths>> by_target;
  for (const format::RunPaths& run : runs) {
    TRY_ASSIGN(const format::Plan plan, format::read_plan(run.plan()));
    by_target[base::dump_json(plan.target)].push_back(run);
  }
  std::vector<std::unique_ptr<Mirroring>> made;
  for (auto& [definition, group] : by_target) {
    TRY_ASSIGN(auto one, begin_group(std::move(group), Start::adopt_only, nullptr));
    if (one) made.push_back(std::move(one));
  }
  return made;
}

/// `runs` are of one target.
Result<std::unique_ptr<Mirroring>> Mirroring::begin_group(std::vector<format::RunPaths> runs, Start start,
                                                          std::unique_ptr<LiveView> live) {
  TRY_ASSIGN(const format::Plan plan, format::read_plan(runs.front().plan()));
  TRY_ASSIGN(auto target, target_of(runs.front(), plan));
  if (target->capabilities().in_place) return nullptr;
  TRY_ASSIGN(auto turn, target::Cancel::create());
  return std::unique_ptr<Mirroring>(new Mirroring(std::move(runs), format::target_name(plan), std::move(target),
                                                  std::move(turn), start, std::move(live)));
}

Mirroring::Mirroring(std::vector<format::RunPaths> runs, std::string target_name,
                     std::unique_ptr<target::Target> target, target::Cancel turn, Start start,
                     std::unique_ptr<LiveView> live)
    : runs_(std::move(runs)),
      target_name_(std::move(target_name)),
      target_(std::move(target)),
      start_(start),
      live_(std::move(live)),
      turn_(std::move(turn)),
      thread_([this] { loop(); }) {}

Mirroring::~Mirroring() {
  {
    const std::lock_guard lock(mutex_);
    leaving_ = true;
    turn_.request();
  }
  thread_.join();
}

Result<> Mirroring::cancel(const format::RunPaths& run, const std::string& reason) {
  TRY(host::write_request(run, {{"type", "cancel"}, {"reason", reason}}));
  wishes_wait_ = true;
  const std::lock_guard lock(mutex_);
  turn_.request();
  return {};
}

/// Empty when the thread is to end.
std::optional<target::Cancel> Mirroring::next_turn() {
  const std::lock_guard lock(mutex_);
  if (leaving_) return std::nullopt;
  if (!turn_.requested()) return turn_;
  auto turn = target::Cancel::create();
  if (!turn) {
    trouble_ = Trouble{.error = std::move(turn).error(), .since_ns = base::mono_ns()};
    return std::nullopt;
  }
  turn_ = std::move(*turn);
  return turn_;
}

bool Mirroring::mirrors(const format::RunPaths& run) const {
  return std::any_of(runs_.begin(), runs_.end(), [&run](const format::RunPaths& one) { return one.root == run.root; });
}

std::optional<Mirroring::Trouble> Mirroring::trouble(const format::RunPaths& run) const {
  const std::lock_guard lock(mutex_);
  const auto lost = lost_.find(run.id());
  return lost != lost_.end() ? lost->second : trouble_;
}

void Mirroring::heard() {
  const std::lock_guard lock(mutex_);
  trouble_.reset();
}

void Mirroring::failed(const Error& error) {
  if (!no_room_) {
    for (const format::RunPaths& run : open_runs()) (void)archive::note_unreachable(run, error.message);
  }
  const std::lock_guard lock(mutex_);
  const std::uint64_t since = trouble_ && trouble_->here == no_room_ ? trouble_->since_ns : base::mono_ns();
  trouble_ = Trouble{.error = error, .since_ns = since, .here = no_room_};
}

Result<> Mirroring::start_if_wanted(const format::RunPaths& run, const target::Cancel& turn) {
  TRY_ASSIGN(const target::RunRef ref, reference(run));
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  const bool wanted = start_ == Start::allowed && state.state != format::State::stopping;
  if (wanted && ref.handle.empty()) TRY(launch(run, *target_, turn, {.progress = {}, .followed = true}));
  return repeat_wishes(run, *target_, turn);
}

/// Whoever copies a run does not know of a wish that is written meanwhile.
Result<> Mirroring::tell_waiting(const target::Cancel& turn) {
  if (!wishes_wait_.exchange(false)) return {};
  for (const format::RunPaths& run : open_runs()) {
    auto told = repeat_wishes(run, *target_, turn);
    if (told) continue;
    wishes_wait_ = true;
    return told;
  }
  heard();
  return {};
}

/// Those that have not been copied to their ends.
std::vector<format::RunPaths> Mirroring::open_runs() const {
  const std::lock_guard lock(mutex_);
  std::vector<format::RunPaths> open;
  for (const format::RunPaths& run : runs_) {
    if (!through_.contains(run.id()) && !lost_.contains(run.id())) open.push_back(run);
  }
  return open;
}

/// `runs` were watched to their ends, but for those that the target does not have.
void Mirroring::note_through(const std::vector<format::RunPaths>& runs, const std::vector<std::string>& missing) {
  const std::lock_guard lock(mutex_);
  for (const format::RunPaths& run : runs) through_.insert(run.id());
  for (const std::string& run : missing) {
    lost_[run] = {.error = Error{.code = Errc::not_found,
                                 .message = target_name_ + " has nothing of this run any more",
                                 .hint = "somebody removed it there"},
                  .since_ns = base::mono_ns()};
  }
}

/// What is written here. Nothing is wrong with the target when that fails.
Result<> Mirroring::here(Result<> result) {
  no_room_ = !result && result.error().code == Errc::store;
  return result;
}

/// True when all runs have ended and their copies are whole; false while another process copies some of them.
Result<bool> Mirroring::once(const target::Cancel& turn) {
  no_room_ = false;
  auto pass = MirrorPass::open(open_runs());
  if (!pass) {
    TRY(here(fail(pass.error())));
  }
  auto done = copy(**pass, turn);
  no_room_ = no_room_ || (!done && (*pass)->failed_here() && done.error().code == Errc::store);
  return done;
}

Result<bool> Mirroring::copy(MirrorPass& pass, const target::Cancel& turn) {
  if (pass.busy() > 0) TRY(tell_waiting(turn));
  const std::vector<format::RunPaths> mine = pass.mine();
  if (mine.empty()) return pass.busy() == 0;
  for (const format::RunPaths& run : mine) TRY(start_if_wanted(run, turn));
  // A watch may have nothing to say for long. Trouble is over when the target has answered, not when it is asked.
  if (!well()) {
    TRY_ASSIGN(const target::RunRef ref, reference(mine.front()));
    TRY(target_->find(ref, turn));
  }
  heard();
  for (const format::RunPaths& run : mine) TRY(here(archive::note_seen(run)));
  TRY(pass.run(*target_, target::Until::ended, turn));
  if (turn.requested()) return false;
  note_through(mine, pass.missing());
  return pass.busy() == 0;
}

/// Until there is room for the copy again.
void Mirroring::show_live(const target::Cancel& turn) {
  if (!live_) return;
  const auto ended = live_->watch(*target_, turn);
  const std::lock_guard lock(mutex_);
  if (trouble_ && ended && *ended) trouble_->over = true;
}

/// Unknown is not failed: a broken connection changes nothing about a run, so it is only tried again. A changed host
/// key and the like stay until somebody does something.
void Mirroring::loop() {
  host::block_all_signals();  // they are for the thread that reads keys
  int pause = kFirstPauseMs;
  while (const auto turn = next_turn()) {
    const bool was_well = well();
    const auto done = once(*turn);
    if (done && *done) return;
    if (was_well) pause = kFirstPauseMs;
    if (!done && !turn->requested()) {
      failed(done.error());
      if (no_room_) {
        show_live(*turn);
      } else if (done.error().code != Errc::unavailable) {
        return;
      }
    }
    if (turn->wait_ms(pause)) continue;
    pause = std::min(pause * 2, kLongestPauseMs);
  }
}

bool Mirroring::well() const {
  const std::lock_guard lock(mutex_);
  return !trouble_;
}

}  // namespace trainctl::engine
