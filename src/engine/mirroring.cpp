// SPDX-License-Identifier: Apache-2.0
#include "engine/mirroring.hpp"

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "archive/contact.hpp"
#include "base/clock.hpp"
#include "engine/mirror_pass.hpp"
#include "engine/supervision.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/plan_target.hpp"
#include "format/state.hpp"
#include "target/cancel.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

constexpr int kFirstPauseMs = 250;
constexpr int kLongestPauseMs = 5000;

}  // namespace

Result<std::unique_ptr<Mirroring>> Mirroring::begin(const format::RunPaths& run, Start start) {
  TRY_ASSIGN(const format::Plan plan, format::read_plan(run.plan()));
  TRY_ASSIGN(auto target, target_of(run, plan));
  if (target->capabilities().in_place) return nullptr;
  TRY_ASSIGN(auto cancel, target::Cancel::create());
  return std::unique_ptr<Mirroring>(
      new Mirroring(run, format::target_name(plan), std::move(target), std::move(cancel), start));
}

Mirroring::Mirroring(format::RunPaths run, std::string target_name, std::unique_ptr<target::Target> target,
                     target::Cancel cancel, Start start)
    : run_(std::move(run)),
      target_name_(std::move(target_name)),
      target_(std::move(target)),
      cancel_(std::move(cancel)),
      start_(start),
      thread_([this] { loop(); }) {}

Mirroring::~Mirroring() {
  cancel_.request();
  thread_.join();
}

std::optional<Mirroring::Trouble> Mirroring::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

void Mirroring::heard() {
  const std::lock_guard lock(mutex_);
  trouble_.reset();
}

void Mirroring::failed(const Error& error) {
  const std::lock_guard lock(mutex_);
  if (trouble_) {
    trouble_->error = error;
  } else {
    trouble_ = Trouble{.error = error, .since_ns = base::mono_ns()};
  }
}

Result<> Mirroring::start_if_wanted() {
  TRY_ASSIGN(const target::RunRef ref, reference(run_));
  TRY_ASSIGN(const format::RunState state, format::fold_run(run_));
  const bool wanted = start_ == Start::allowed && state.state != format::State::stopping;
  if (wanted && ref.handle.empty()) TRY(launch(run_, *target_, {.progress = {}, .followed = true}));
  return repeat_wishes(run_, *target_, cancel_);
}

/// True when the run has ended and its copy is whole; false while another process copies it.
Result<bool> Mirroring::once() {
  TRY_ASSIGN(auto pass, MirrorPass::open({run_}));
  if (pass->busy() > 0) return false;
  TRY(start_if_wanted());
  heard();
  TRY(archive::note_seen(run_));
  TRY(pass->run(*target_, target::Until::ended, cancel_));
  if (!pass->missing().empty())
    return fail(Errc::not_found, target_name_ + " has nothing of this run any more", "somebody removed it there");
  return true;
}

/// Unknown is not failed: a broken connection changes nothing about the run, so it is only tried again. A changed host
/// key and the like stay until somebody does something.
void Mirroring::loop() {
  int pause = kFirstPauseMs;
  while (!cancel_.requested()) {
    const bool was_well = !trouble();
    const auto done = once();
    if (done && *done) return;
    if (was_well) pause = kFirstPauseMs;
    if (!done && !cancel_.requested()) {
      failed(done.error());
      (void)archive::note_unreachable(run_, done.error().message);
      if (done.error().code != Errc::unavailable) return;
    }
    if (cancel_.wait_ms(pause)) return;
    pause = std::min(pause * 2, kLongestPauseMs);
  }
}

}  // namespace trainctl::engine
