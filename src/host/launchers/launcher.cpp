// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/launcher.hpp"

#include <stdint.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/adoption.hpp"
#include "host/launchers/slurm/batch.hpp"
#include "host/launchers/slurm/cancel.hpp"
#include "host/launchers/slurm/observer.hpp"
#include "host/launchers/slurm/options.hpp"
#include "host/launchers/slurm/poller.hpp"
#include "host/launchers/slurm/submit.hpp"
#include "host/supervise.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

class SlurmLaunches final : public LaunchObserver {
 public:
  SlurmLaunches(std::vector<slurm::RunObserver> runs, std::shared_ptr<slurm::Poller> poller)
      : runs_(std::move(runs)), poller_(std::move(poller)), told_(runs_.size()) {
    poller_->hurry();
  }

  std::vector<Json> look() override {
    std::vector<Json> notes;
    const bool fresh = poller_->poll(lively(), seen_);
    if (!fresh && !due()) return notes;
    looked_ = base::mono_ns();
    settled_ = settled_ || fresh || poller_->is_down();
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      auto observed = runs_[i].look(poller_->snapshot());
      if (!observed || *observed == told_[i]) continue;
      told_[i] = *observed;
      notes.push_back({{"run", runs_[i].run().id()}, {"observed", std::move(*observed)}});
    }
    return notes;
  }

  [[nodiscard]] int fd() const override { return poller_->fd(); }

  [[nodiscard]] int wait_ms() const override {
    const int poll = poller_->wait_ms();
    const int look = lively() ? kLookMs : -1;
    if (poll < 0 || look < 0) return std::max(poll, look);
    return std::min(poll, look);
  }

  [[nodiscard]] bool settled() const override {
    const bool deciding = std::any_of(runs_.begin(), runs_.end(), [](const auto& run) { return run.is_deciding(); });
    return poller_->is_down() || (settled_ && !deciding);
  }

 private:
  static constexpr int kLookMs = 1000;  // at what the submission says, without asking the controller

  [[nodiscard]] bool lively() const {
    return std::any_of(runs_.begin(), runs_.end(),
                       [](const slurm::RunObserver& run) { return !run.ended() && run.is_waiting(); });
  }
  [[nodiscard]] bool due() const { return looked_ == 0 || base::mono_ns() - looked_ >= UINT64_C(1'000'000) * kLookMs; }

  std::vector<slurm::RunObserver> runs_;
  std::shared_ptr<slurm::Poller> poller_;
  std::vector<Json> told_;
  std::uint64_t seen_ = 0;
  std::uint64_t looked_ = 0;
  bool settled_ = false;
};

Result<bool> runs_in_slurm(const format::RunPaths& run) {
  TRY_ASSIGN(const auto plan, format::read_plan(run.plan()));
  return slurm::is_slurm(plan);
}

}  // namespace

Result<> launch_run(const format::RunPaths& run) {
  TRY_ASSIGN(const bool slurm, runs_in_slurm(run));
  if (slurm) return slurm::start_submission(run);
  TRY(spawn_supervisor(run.root));
  return {};
}

Result<> adopt_run(const format::RunPaths& run) {
  TRY_ASSIGN(const bool slurm, runs_in_slurm(run));
  if (!slurm) return ensure_supervised(run, Start::adopt_only);
  TRY_ASSIGN(const auto state, format::fold_run(run));
  if (format::is_terminal(state.state)) return {};
  return slurm::start_submission(run);
}

bool was_handed_over(const format::RunPaths& run) {
  return base::exists(slurm::JobPaths(run).record());
}

Result<> request_written(const format::RunPaths& run, std::string_view type) {
  if (type != "cancel") return {};
  TRY_ASSIGN(const bool slurm, runs_in_slurm(run));
  if (!slurm) return {};
  TRY_ASSIGN(const auto state, format::fold_run(run));
  if (format::is_terminal(state.state)) return {};
  return slurm::start_cancel(run);
}

std::unique_ptr<LaunchObserver> observe_launches(const format::StorePaths& store, const std::vector<std::string>& runs,
                                                 const std::shared_ptr<slurm::Poller>& poller) {
  std::vector<slurm::RunObserver> observed;
  for (const std::string& id : runs) {
    const format::RunPaths run = store.run(id);
    const auto slurm = runs_in_slurm(run);
    if (!slurm || !*slurm) continue;
    auto opened = slurm::RunObserver::open(run);
    if (opened) observed.push_back(std::move(*opened));
  }
  if (observed.empty()) return nullptr;
  return std::make_unique<SlurmLaunches>(std::move(observed), poller);
}

}  // namespace trainctl::host
