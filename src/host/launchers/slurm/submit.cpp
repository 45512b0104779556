// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/submit.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/detach.hpp"
#include "host/launchers/slurm/ahead.hpp"
#include "host/launchers/slurm/batch.hpp"
#include "host/launchers/slurm/commands.hpp"
#include "host/launchers/slurm/ending.hpp"
#include "host/launchers/slurm/options.hpp"
#include "host/launchers/slurm/queue.hpp"
#include "host/launchers/slurm/record.hpp"
#include "host/launchers/slurm/runners.hpp"
#include "host/supervisor/journal.hpp"
#include "host/supervisor/preparation.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {
namespace {

using format::Cause;
using format::State;
using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{500};
constexpr milliseconds kLongestPause = std::chrono::seconds(30);
constexpr milliseconds kSubmitDeadline = std::chrono::seconds(60);
constexpr int kLooks = 3;  // for a job whose id was not heard: the controller may still be at it

class Submission {
 public:
  Submission(Hold hold, format::RunPaths run, mode_t user_mask)
      : hold_(std::move(hold)), run_(std::move(run)), user_mask_(user_mask) {}

  Result<> to_job() {
    TRY_ASSIGN(plan_, format::read_plan(run_.plan()));
    TRY_ASSIGN(const bool wanted, is_wanted());
    if (!wanted) return {};
    if (is_canceled() && !record_.intent_open) return cancel();
    if (const auto lacking = no_slurm()) return refuse(Cause::start, *lacking);
    auto options = read_options(plan_.target);
    if (!options) return refuse(Cause::start, options.error());
    options_ = std::move(*options);
    if (auto ready = make_ready(); !ready) return refuse(Cause::start, ready.error());
    if (ended_) return {};
    return ask_for_job();
  }

 private:
  /// A run without a job, or one whose job is over and which goes on.
  Result<bool> is_wanted() {
    TRY_ASSIGN(const auto state, format::fold_run(run_));
    TRY_ASSIGN(record_, read_record(run_));
    if (format::is_terminal(state.state) || !record_.job().empty()) return false;
    return state.attempt == 0 || record_.again || !state.lead.is_object();
  }

  [[nodiscard]] bool is_canceled() const {
    const auto state = format::fold_run(run_);
    return state && (state->state == State::stopping || format::is_terminal(state->state));
  }

  /// What can be told without asking: with a file that is missing sbatch tries for a minute.
  static std::optional<Error> no_slurm() {
    std::string message;
    if (!base::find_program("sbatch")) message = "Slurm's program sbatch is not installed on " + base::host_name();
    const auto config = base::get_env("SLURM_CONF");
    if (config && !config->empty() && !base::exists(*config))
      message = "Slurm is not configured on " + base::host_name() + ": SLURM_CONF names " + *config +
                ", which does not exist";
    if (message.empty()) return std::nullopt;
    return Error{.code = Errc::not_found,
                 .message = std::move(message),
                 .hint = "the target has to be a host that submits jobs"};
  }

  Result<> end(const AttemptEnd& how) {
    ended_ = true;
    TRY(end_from_here(run_, how));
    return {};
  }
  Result<> refuse(Cause cause, const Error& error) {
    return end({.state = State::failed,
                .cause = cause,
                .message = error.hint.empty() ? error.message : error.message + " (" + error.hint + ")"});
  }
  Result<> cancel() { return end({.state = State::canceled, .cause = Cause::canceled, .message = "canceled"}); }

  Result<> say(const std::string& phase) {
    if (phase == record_.phase) return {};
    record_.phase = phase;
    return hold_.note("phase", {{"message", phase}});
  }

  /// Everything that does not need the controller.
  Result<> make_ready() {
    const bool first = record_.jobs.empty() && !record_.intent_open;
    if (first && !plan_.environment.is_null() && !plan_.container && !options_.build_in_job) {
      TRY(say(preparation_message(plan_) + " on " + submit_host()));
      const auto built = build_ahead(plan_, run_, [this] { return is_canceled(); });
      if (is_canceled()) return cancel();
      if (!built) return end({.state = State::failed, .cause = built.error().cause, .message = built.error().message});
    }
    TRY_ASSIGN(const auto runner, provide_runner(run_.store()));
    // Writing it shows that the job's own log can be written there, too: Slurm would accept the job and fail it
    // silently.
    return base::write_file_durable(JobPaths(run_).script(), batch_script(plan_, run_, runner), 0600);
  }

  Result<> ask_for_job() {
    milliseconds pause = kFirstPause;
    for (;;) {
      if (is_canceled() && !record_.intent_open) return cancel();
      TRY_ASSIGN(const bool settled, record_.intent_open ? look_or_submit() : submit_once());
      if (settled) return {};
      rest(pause);
      pause = std::min(pause * 2, kLongestPause);
    }
  }

  /// A process of its own that has nothing else to do; a cancel ends the rest.
  void rest(milliseconds pause) const {
    for (milliseconds done{0}; done < pause && !is_canceled(); done += kFirstPause)
      std::this_thread::sleep_for(kFirstPause);
  }

  /// True when it is settled, false when it is to be tried again later.
  Result<bool> look_or_submit() {
    for (int i = 0; i < kLooks; ++i) {
      const auto jobs = ask_queue();
      if (!jobs && jobs.error().code == Errc::not_found) {
        TRY(refuse(Cause::start, jobs.error()));
        return true;
      }
      if (!jobs) return unreachable();
      if (const auto found = find_job(*jobs)) {
        TRY(keep(*found));
        return true;
      }
      if (i + 1 < kLooks) std::this_thread::sleep_for(kFirstPause);
    }
    if (!is_canceled()) return submit_once();
    TRY(cancel());
    return true;
  }

  [[nodiscard]] std::optional<std::string> find_job(const std::vector<Job>& jobs) const {
    for (const Job& job : jobs) {
      // A job that was put back into the queue is the next one, too.
      const bool counts = !record_.knows(job.id) || stage_of(job.state) == Stage::waiting;
      if (counts && belongs_to(job, run_.id())) return job.id;
    }
    return std::nullopt;
  }

  Result<bool> submit_once() {
    TRY(hold_.note_durable("intent"));
    record_.intent_open = true;
    const mode_t own = ::umask(user_mask_);
    const auto done = run_slurm(sbatch_words(plan_, run_, options_), kSubmitDeadline);
    ::umask(own);
    if (!done && done.error().code == Errc::not_found) {
      TRY(refuse(Cause::start, done.error()));
      return true;
    }
    if (!done && done.error().retryable) {
      TRY(hold_.note_durable("refused", {{"message", done.error().message}}));
      record_.intent_open = false;
    }
    if (!done) return unreachable();
    const auto job = done->exit_code == 0 ? parse_submitted(done->out) : std::nullopt;
    if (job) {
      TRY(keep(*job));
      return true;
    }
    // It may have been accepted all the same: what sbatch says is one thing, what the controller has another.
    auto jobs = ask_queue();
    if (!jobs) return unreachable();
    std::erase_if(*jobs, was_refused);
    if (const auto found = find_job(*jobs)) {
      TRY(keep(*found));
      return true;
    }
    const std::string said = refusal(*done);
    TRY(hold_.note_durable("refused", {{"message", said}}));
    TRY(refuse(Cause::start, Error{.code = Errc::cannot_start, .message = "Slurm refused the job: " + said}));
    return true;
  }

  /// The controller keeps some of the jobs it refuses, failed without ever having had nodes.
  static bool was_refused(const Job& job) { return stage_of(job.state) == Stage::over && job.nodes.empty(); }

  static std::string refusal(const base::CommandOutput& done) {
    std::string text;
    for (const std::string& line : base::split(done.err, '\n')) {
      std::string_view words = base::trim(line);
      for (const std::string_view head : {"sbatch: ", "error: ", "Batch job submission failed: "}) {
        if (words.starts_with(head)) words.remove_prefix(head.size());
      }
      if (!words.empty()) text += (text.empty() ? "" : "; ") + base::to_utf8(words);
    }
    if (text.empty()) text = "sbatch ended with code " + std::to_string(done.exit_code) + " and gave no job";
    return text.substr(0, 600);
  }

  Result<bool> unreachable() {
    TRY(say(kSilentController));
    return false;
  }

  Result<> keep(const std::string& job) { return hold_.note_durable("job", {{"job", job}}); }

  Hold hold_;
  format::RunPaths run_;
  mode_t user_mask_;
  format::Plan plan_;
  Options options_;
  Record record_;
  bool ended_ = false;
};

}  // namespace

Result<> submit(const format::RunPaths& run, mode_t user_mask) {
  TRY_ASSIGN(auto hold, Hold::try_take(run));
  if (!hold) return {};
  return Submission(std::move(*hold), run, user_mask).to_job();
}

Result<> start_submission(const format::RunPaths& run) {
  TRY_ASSIGN(const std::string report, detach("trainctl-submit", [&](const Detached& process) {
               auto hold = Hold::try_take(run);
               const std::string problem = hold ? "" : hold.error().message;
               (void)base::write_all(process.report_fd, problem);
               ::close(process.report_fd);
               if (!hold || !*hold) return hold ? 0 : 1;
               return Submission(std::move(**hold), run, process.user_mask).to_job() ? 0 : 1;
             }));
  if (!report.empty()) return fail(Errc::store, report);
  return {};
}

void put_back(const format::RunPaths& run, const std::string& job) {
  const auto done = run_slurm({"scontrol", "requeue", job});
  if (done && done->exit_code == 0) return;
  auto hold = Hold::try_take(run);
  if (!hold || !*hold) return;
  if (!(*hold)->note_durable("again")) return;
  const mode_t mask = ::umask(077);
  ::umask(mask);
  (void)Submission(std::move(**hold), run, mask).to_job();
}

}  // namespace trainctl::host::slurm
