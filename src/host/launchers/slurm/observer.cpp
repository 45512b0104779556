// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/observer.hpp"

#include <stdint.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/launchers/slurm/batch.hpp"
#include "host/launchers/slurm/claim.hpp"
#include "host/launchers/slurm/commands.hpp"
#include "host/launchers/slurm/ending.hpp"
#include "host/launchers/slurm/options.hpp"
#include "host/launchers/slurm/queue.hpp"
#include "host/launchers/slurm/reasons.hpp"
#include "host/launchers/slurm/record.hpp"
#include "host/launchers/slurm/submit.hpp"
#include "host/supervisor/history.hpp"
#include "host/supervisor/journal.hpp"
#include "host/supervisor/verdict.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {
namespace {

using format::Cause;
using format::State;

constexpr std::uint64_t kSecond = UINT64_C(1'000'000'000);
constexpr std::uint64_t kLate = 3 * kSecond;            // what a supervisor wrote last may come late
constexpr std::uint64_t kLateOnNetwork = 15 * kSecond;  // … where other machines see it with a delay
constexpr std::uint64_t kSubmitAgain = 10 * kSecond;
constexpr std::chrono::milliseconds kShort = std::chrono::seconds(5);
constexpr std::uint64_t kTail = 2000;
constexpr std::uint64_t kPromptMs = 3000;  // sbatch with a controller that answers

std::uint64_t wall_ms() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(base::wall_now().time_since_epoch()).count());
}

const Job* find(const std::vector<Job>& jobs, const std::string& id) {
  const auto found = std::find_if(jobs.begin(), jobs.end(), [&](const Job& job) { return job.id == id; });
  return found == jobs.end() ? nullptr : &*found;
}

/// What the batch process or Slurm said last in the job's own log, on one line.
std::string last_words(const format::RunPaths& run, const std::string& job) {
  const auto path = JobPaths(run).output(job);
  const std::uint64_t size = base::file_size(path).value_or(0);
  const auto bytes = base::read_range(path, size - std::min(size, kTail), kTail);
  if (!bytes) return {};
  std::string words;
  for (const std::string& line : base::split(*bytes, '\n')) {
    if (const auto text = base::trim(line); !text.empty()) words = base::to_utf8(text);
  }
  return words.substr(0, 400);
}

/// How often Slurm has put the job back; 0 when it does not say.
int restarts_of(const std::string& job) {
  const auto told = ask_job(job, kShort);
  return told && told->contains("Restarts") ? std::atoi(told->at("Restarts").c_str()) : 0;
}

/// The node could not open the file of its output: Slurm fails such a job without a word, with this code.
bool has_no_output(const std::string& job) {
  const auto told = ask_job(job, kShort);
  return told && told->contains("ExitCode") && told->at("ExitCode") == "0:53";
}

std::optional<Accounted> ask_accounting(const std::string& job) {
  const auto done = run_slurm({"sacct", "-P", "-n", "-X", "-o", "JobID,State,ExitCode", "-j", job}, kShort);
  if (!done || done->exit_code != 0) return std::nullopt;
  return parse_accounting(done->out, job);
}

}  // namespace

Result<RunObserver> RunObserver::open(format::RunPaths run) {
  TRY_ASSIGN(auto plan, format::read_plan(run.plan()));
  TRY_ASSIGN(auto options, read_options(plan.target));
  plan.spec = nullptr;
  plan.origins = nullptr;
  return RunObserver(std::move(run), std::move(plan), std::move(options));
}

Json RunObserver::told(State state, const std::string& message, int attempt) const {
  Json json = {{"state", to_string(state)}, {"message", message}, {"attempt", attempt}};
  if (!job_.empty()) json["job"] = job_;
  if (attempt > 0 && !has_lead_) json["after"] = "retry";  // the attempt that was is over
  return json;
}

std::optional<Json> RunObserver::look(const Snapshot& snapshot) {
  const auto state = format::fold_run(run_);
  const auto record = read_record(run_);
  if (!state || !record || ended_) return std::nullopt;
  deciding_ = false;
  ended_ = format::is_terminal(state->state) && !state->end.is_null();
  has_lead_ = state->lead.is_object() && !wants_another(run_.attempt(state->attempt));
  if (ended_) return std::nullopt;
  if (const std::string counts = job_that_counts(*state, *record); counts != job_) {
    job_ = counts;
    job_since_ = base::mono_ns();
    over_since_ = 0;
  }
  if (job_.empty()) return without_job(*state, *record);
  const Job* job = find(snapshot.jobs, job_);
  if (job != nullptr && belongs_to_another(*job, run_.id())) job = nullptr;
  if (job != nullptr && record->gone_since) note("seen");
  if (job != nullptr) return on_queue(*job, *state, *record);
  waiting_ = true;
  // An answer that is older than the job says nothing about it.
  if (snapshot.asked > job_since_) on_gone(job_, *record, *state);
  return std::nullopt;
}

/// The one that has the attempt, else the last one we know. That may be another one: sbatch was not heard, its job came
/// late, and a second one had been submitted meanwhile. Then that one is too many.
std::string RunObserver::job_that_counts(const format::RunState& state, const Record& record) {
  const auto owner = has_lead_ ? owner_of(run_.attempt(state.attempt)) : fail(Errc::not_found, "nobody works");
  if (!owner || owner->job.empty()) return record.job();
  if (!record.knows(owner->job)) {
    auto hold = Hold::try_take(run_);
    if (hold && *hold && (*hold)->note_durable("job", {{"job", owner->job}}) && !record.job().empty())
      (void)run_slurm({"scancel", record.job()}, kShort);
  }
  return owner->job;
}

/// That the controller has forgotten the job, or knows it again.
void RunObserver::note(const char* type) {
  auto hold = Hold::try_take(run_);
  if (hold && *hold) (void)(*hold)->note(type, {{"job", job_}});
}

/// Nobody submits it: the submission was killed, or the submit host was restarted.
std::optional<Json> RunObserver::without_job(const format::RunState& state, const Record& record) {
  waiting_ = true;
  const std::uint64_t now = base::mono_ns();
  if (!is_held(run_) && now - submitted_again_ >= kSubmitAgain && !has_lead_) {
    submitted_again_ = now;
    (void)start_submission(run_);
  }
  // sbatch says only after many seconds that nobody answers it.
  const bool silent = record.intent_open && wall_ms() > record.intended + kPromptMs;
  if (silent || record.phase == kSilentController) return told(State::queued, kSilentController, state.attempt);
  return told(State::preparing, record.phase.empty() ? "is being submitted to Slurm" : record.phase, state.attempt);
}

std::optional<Json> RunObserver::on_queue(const Job& job, const format::RunState& state, const Record& record) {
  const Stage stage = stage_of(job.state);
  waiting_ = stage != Stage::running || !has_lead_;
  if (stage != Stage::over && stage != Stage::waiting) over_since_ = 0;
  switch (stage) {
    case Stage::over:
      on_over(job, state);
      return std::nullopt;
    case Stage::waiting: {
      if (has_lead_) {
        mourn(job, state);
        return std::nullopt;
      }
      if (has_waited_too_long(state, record)) {
        on_queue_timeout();
        return std::nullopt;
      }
      Json json = told(State::queued, sentence_of(job.reason) + " (job " + job.id + ")", state.attempt);
      json["reason"] = job.reason;
      return json;
    }
    case Stage::starting:
      return told(State::queued, "the nodes of job " + job.id + " are being started (" + job.nodes + ")",
                  state.attempt);
    case Stage::running:
      if (has_lead_) return std::nullopt;
      return told(State::preparing, "job " + job.id + " begins on " + job.nodes, state.attempt);
    default:
      return std::nullopt;
  }
}

/// Since it was submitted, or since Slurm took the nodes from its last attempt.
bool RunObserver::has_waited_too_long(const format::RunState& state, const Record& record) const {
  const auto& limit = plan_.limits.queue_timeout;
  if (!limit) return false;
  const std::uint64_t since = std::max(record.submitted, state.attempt > 0 ? ended_ms(run_.attempt(state.attempt)) : 0);
  return wall_ms() > since + static_cast<std::uint64_t>(limit->count());
}

void RunObserver::on_queue_timeout() {
  conclude({.state = State::timed_out,
            .cause = Cause::queue_timeout,
            .message = "waited longer than " + base::format_duration(*plan_.limits.queue_timeout) + " for its turn"},
           {}, true);
}

/// The job is over. What its supervisor wrote may be on its way; a job that never had nodes had none.
void RunObserver::on_over(const Job& job, const format::RunState& state) {
  const std::uint64_t now = base::mono_ns();
  if (over_since_ == 0) over_since_ = now;
  const std::uint64_t patience = base::is_network_file_system(run_.root) ? kLateOnNetwork : kLate;
  deciding_ = !job.nodes.empty() && now - over_since_ < patience;
  if (deciding_) return;
  AttemptEnd end = ending(job, state);
  const bool goes_on = state.attempt > 0 && wants_another(run_.attempt(state.attempt));
  if (goes_on && end.cause != Cause::canceled) return submit_another();
  conclude(std::move(end), {state.attempt, job.id});
}

/// The attempt has its end, which asks for another one, and nobody has put the job back.
void RunObserver::submit_another() {
  {
    auto hold = Hold::try_take(run_);
    const auto record = read_record(run_);
    if (!hold || !*hold || !record) return;
    const std::string next = record->job();
    if (!next.empty() && next != job_) return;  // there is another one already
    if (!(*hold)->note_durable("again")) return;
  }
  over_since_ = 0;
  (void)start_submission(run_);
}

/// The job is in the queue again, and its supervisor has said nothing: its node was lost. Only when Slurm has counted
/// that: a controller that crashed may also have forgotten that it gave the job nodes, and there it works.
void RunObserver::mourn(const Job& job, const format::RunState& state) {
  const auto owner = owner_of(run_.attempt(state.attempt));
  if (!owner || owner->job != job.id) return;
  const std::uint64_t now = base::mono_ns();
  if (over_since_ == 0) over_since_ = now;
  deciding_ = now - over_since_ < kLate;
  if (deciding_) return;
  if (restarts_of(job.id) <= owner->restart) return;
  conclude(
      {.state = State::failed,
       .cause = Cause::node,
       .message = lost_node(owner->machine, plan_.resources.nodes) + ", Slurm has put the job back into the queue"},
      {state.attempt, job.id}, true);
}

void RunObserver::on_gone(const std::string& job, const Record& record, const format::RunState& state) {
  if (!record.gone_since || record.gone != job) return note("gone");
  if (wall_ms() < *record.gone_since + static_cast<std::uint64_t>(options_.evidence.count())) return;
  const auto accounted = ask_accounting(job);
  AttemptEnd end{.state = State::lost, .cause = Cause::lost};
  end.message = "Slurm has forgotten job " + job + ", and its supervisor had written no end";
  if (accounted && stage_of(accounted->state) != Stage::over) return;  // it knows better
  if (accounted) {
    Job over;
    over.id = job;
    over.state = accounted->state;
    end = ending(over, state);
  }
  conclude(std::move(end), {state.attempt, job});
}

AttemptEnd RunObserver::ending(const Job& job, const format::RunState& state) const {
  const Ending known = ending_of(job.state);
  AttemptEnd end{.state = known.state, .cause = known.cause, .message = known.message};
  const bool canceled = state.state == State::stopping && !state.open_requests.empty();
  if (known.cause == Cause::canceled) {
    const auto accounted = canceled ? std::nullopt : ask_accounting(job.id);
    if (canceled) end.message = "canceled";
    if (accounted && !accounted->by.empty()) end.message += " by user " + accounted->by;
  }
  if (known.cause != Cause::lost) return end;
  // Without a lead it is no loss: nothing of ours has run.
  if (!has_lead_) {
    end.state = State::failed;
    end.cause = Cause::start;
    end.message = job.reason == "JobLaunchFailure" ? "Slurm could not launch the job" : "the job ended before it began";
  }
  if (const std::string words = last_words(run_, job.id); !words.empty()) end.message += ": " + words;
  if (!has_lead_ && has_no_output(job.id))
    end.message = "the job's node cannot write " + JobPaths(run_).root.string() +
                  ": the target's directory has to be on a file system that the nodes share and can write";
  return end;
}

void RunObserver::conclude(AttemptEnd end, const Abandoned& abandoned, bool job_goes_on) {
  end.retry = should_retry(end, false, plan_.retry, read_history(run_, format::last_attempt(run_)).retries);
  const bool again = end.retry;
  {
    auto hold = Hold::try_take(run_);
    if (!hold || !*hold) return;
    const auto written = end_from_here(run_, end, abandoned);
    if (!written || !*written) return;
  }
  over_since_ = 0;
  has_lead_ = false;
  ended_ = !again;
  if (again && !job_goes_on) submit_another();
  if (!again && job_goes_on) (void)run_slurm({"scancel", job_}, kShort);
}

}  // namespace trainctl::host::slurm
