// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/cancel.hpp"

#include <stdint.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "host/detach.hpp"
#include "host/launchers/slurm/commands.hpp"
#include "host/launchers/slurm/ending.hpp"
#include "host/launchers/slurm/observer.hpp"
#include "host/launchers/slurm/queue.hpp"
#include "host/launchers/slurm/record.hpp"
#include "host/supervisor/journal.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{200};
constexpr milliseconds kLongestPause = std::chrono::seconds(5);
constexpr milliseconds kSoon = std::chrono::minutes(1);
constexpr milliseconds kLatePause = std::chrono::seconds(30);
constexpr milliseconds kHearing = std::chrono::seconds(15);  // until a supervisor elsewhere sees the request
constexpr milliseconds kGiveUp = std::chrono::hours(1);      // whoever looks next goes on with it

class Canceling {
 public:
  explicit Canceling(RunObserver observer) : observer_(std::move(observer)), began_(base::mono_ns()) {}

  int run() {
    milliseconds pause = kFirstPause;
    while (!over() && waited() < kGiveUp) {
      step();
      if (over()) break;
      std::this_thread::sleep_for(pause);  // a process of its own that has nothing else to do
      pause = std::min(pause * 3 / 2, waited() < kSoon ? kLongestPause : kLatePause);
    }
    return 0;
  }

 private:
  [[nodiscard]] bool over() const { return over_ || observer_.ended(); }
  [[nodiscard]] milliseconds waited() const { return milliseconds((base::mono_ns() - began_) / UINT64_C(1'000'000)); }

  void step() {
    const auto record = read_record(observer_.run());
    if (!record) return;
    if (record->job().empty()) end_without_job();
    // Also without a job: the look finds that the run has ended, or that nobody submits it.
    const std::uint64_t asked = base::mono_ns();
    const auto jobs = ask_queue();
    if (!jobs) return look_without_queue();
    (void)observer_.look({*jobs, asked});
    if (observer_.ended()) return;
    const bool patient = observer_.has_lead() && waited() < observer_.plan().stop.grace + kHearing;
    if (patient) return;
    const auto row = std::find_if(jobs->begin(), jobs->end(), [&](const Job& job) { return job.id == record->job(); });
    if (row == jobs->end() || stage_of(row->state) == Stage::over) return;
    // A job that begins at this moment gets its chance to end the run itself.
    const bool waits = stage_of(row->state) == Stage::waiting;
    (void)run_slurm(waits ? std::vector<std::string>{"scancel", "--state=PENDING", row->id}
                          : std::vector<std::string>{"scancel", row->id});
  }

  /// The supervisor in the job may have ended the run while the controller is silent.
  void look_without_queue() {
    const auto state = format::fold_run(observer_.run());
    over_ = state && format::is_terminal(state->state);
  }

  /// A submission that is at work sees the request itself.
  void end_without_job() {
    const auto hold = Hold::try_take(observer_.run());
    if (!hold || !*hold) return;
    const auto record = read_record(observer_.run());
    if (!record || !record->job().empty() || record->intent_open) return;
    const AttemptEnd end{.state = format::State::canceled, .cause = format::Cause::canceled, .message = "canceled"};
    (void)end_from_here(observer_.run(), end);
  }

  RunObserver observer_;
  std::uint64_t began_ = 0;
  bool over_ = false;
};

}  // namespace

Result<> start_cancel(const format::RunPaths& run) {
  TRY_ASSIGN(auto observer, RunObserver::open(run));
  TRY(detach("trainctl-cancel", [&](const Detached& process) {
    ::close(process.report_fd);
    return Canceling(std::move(observer)).run();
  }));
  return {};
}

}  // namespace trainctl::host::slurm
