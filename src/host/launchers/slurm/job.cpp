// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/job.hpp"

#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
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
#include "host/container/engine.hpp"
#include "host/gang/membership.hpp"
#include "host/launchers/slurm/claim.hpp"
#include "host/launchers/slurm/commands.hpp"
#include "host/launchers/slurm/ending.hpp"
#include "host/launchers/slurm/queue.hpp"
#include "host/launchers/slurm/submit.hpp"
#include "host/linux/process.hpp"
#include "host/supervise.hpp"
#include "host/supervisor/enclosure.hpp"
#include "host/supervisor/reactor.hpp"
#include "host/supervisor/run_supervision.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {
namespace {

using format::Cause;
using std::chrono::milliseconds;

constexpr int kStoreExit = 6;
constexpr std::uint64_t kSecond = 1000 * kMillisecond;
constexpr milliseconds kShort = std::chrono::seconds(3);
constexpr std::int64_t kNearSeconds = 60;  // Slurm looks at limits once in a while: it may end a job a little late
constexpr const char* kTimeLimit = "the time limit of its job is reached";
constexpr std::uint64_t kEnoughLeft = 120 * kSecond;
/// How long a job has left, and how long Slurm waits between SIGTERM and SIGKILL.
constexpr const char* kTimesScript = "squeue -h -j \"$0\" -o %L; scontrol show config | grep '^KillWait '";
/// Task k of the step is node k; node 0 is the batch process.
constexpr const char* kNodeScript =
    "[ \"$SLURM_PROCID\" = 0 ] || exec \"$0\" supervise --foreground --node \"$SLURM_PROCID\" \"$1\"";

class SlurmJob final : public Enclosure {
 public:
  SlurmJob(Reactor& reactor, format::RunPaths run) : reactor_(reactor), run_(std::move(run)), me_(this_job()) {}

  /// Without an answer the run goes on as without a limit.
  void begin() {
    auto asked = Question::ask(times_words());
    if (!asked) return;
    times_.emplace(std::move(*asked));
    reactor_.watch(times_->fd(), [this] {
      const int fd = times_->fd();
      const auto answer = times_->answer();
      if (!answer) return;
      reactor_.unwatch(fd);
      if (*answer) read_times((*answer)->out);
    });
  }

  Result<bool> claim(const format::AttemptPaths& attempt) override {
    TRY_ASSIGN(const bool mine, slurm::claim(attempt, me_));
    const int number = std::atoi(attempt.root.filename().c_str());
    if (mine && number > 1) (void)close_cut_off(run_, number - 1);
    return mine;
  }

  [[nodiscard]] std::vector<int> gpus() const override {
    std::vector<int> indices;
    const auto given = base::get_env("CUDA_VISIBLE_DEVICES");
    if (!given || given->empty()) return indices;
    for (const std::string& part : base::split(*given, ',')) {
      int index = 0;
      const auto [end, problem] = std::from_chars(part.data(), part.data() + part.size(), index);
      if (problem != std::errc() || end != part.data() + part.size()) return {};  // UUIDs, parts of a GPU: left alone
      indices.push_back(index);
    }
    return indices;
  }

  std::uint64_t ends_at(bool ask) override {
    if (!ask) return ends_;
    if (const auto answer = run_slurm(times_words(), kShort)) read_times(answer->out);
    return ends_;
  }

  Departure departure() override {
    const auto job = ask();
    if (!job) return leaving(Cause::node, "something ended the job, and Slurm's controller does not say why");
    if (auto why = judge(*job)) return std::move(*why);
    return ended_by_somebody();
  }

  std::optional<Departure> ending() override {
    const auto job = ask();
    if (!job) return std::nullopt;
    if (auto why = judge(*job)) return why;
    // COMPLETING hides the state that is to come; we are still here, so the job does not end by itself.
    if (stage_of(job->at("JobState")) == Stage::leaving) return ended_by_somebody();
    return std::nullopt;
  }

  bool hand_on(Cause cause) override {
    const bool lacks_time = ends_ != kNever && ends_ < base::mono_ns() + kEnoughLeft;
    if (cause != Cause::preempted && cause != Cause::node && cause != Cause::time_limit && !lacks_time) return false;
    if (!back_in_queue_) put_back(run_, me_.job);
    return true;
  }

 private:
  /// What the controller says of the job; "JobState" is there.
  [[nodiscard]] std::optional<std::map<std::string, std::string>> ask() const { return ask_job(me_.job, kShort); }

  /// What the controller has decided about the job, where that can be read from its record.
  std::optional<Departure> judge(const std::map<std::string, std::string>& job) {
    const auto value = [&](const char* key) {
      const auto found = job.find(key);
      return found == job.end() ? std::string() : found->second;
    };
    const std::string preempted = value("PreemptTime");
    const std::string state = value("JobState");
    // A job that waits but was not put back: a controller that crashed has forgotten that it gave us nodes.
    if (std::atoi(value("Restarts").c_str()) > me_.restart) {
      back_in_queue_ = true;
      return leaving(Cause::preempted, "Slurm has put the job back into the queue");
    }
    if (!preempted.empty() && preempted != "None" && preempted != "N/A")
      return leaving(Cause::preempted, "a job with precedence takes the nodes");
    if (value("Reason") == "TimeLimit") return leaving(Cause::time_limit, kTimeLimit);
    if (stage_of(state) != Stage::over) return std::nullopt;
    Ending end = ending_of(state);
    if (end.cause == Cause::lost) return std::nullopt;  // says nothing about why: we are still here
    return leaving(end.cause, std::move(end.message));
  }

  [[nodiscard]] Departure ended_by_somebody() const {
    if (ends_ <= base::mono_ns() + kNearSeconds * kSecond) return leaving(Cause::time_limit, kTimeLimit);
    return leaving(Cause::canceled, ending_of("CANCELLED").message);
  }

  /// Patience: how long until Slurm kills everything, less what our own last words need.
  [[nodiscard]] Departure leaving(Cause cause, std::string message) const {
    return {.cause = cause,
            .message = std::move(message),
            .patience = std::max<milliseconds>(kill_wait_ - std::chrono::seconds(5), std::chrono::seconds(3))};
  }

  [[nodiscard]] std::vector<std::string> times_words() const { return {"sh", "-c", kTimesScript, me_.job}; }

  void read_times(const std::string& text) {
    const auto lines = base::split(text, '\n');
    const auto left = lines.empty() ? std::nullopt : parse_time_left(lines.front());
    if (left) ends_ = base::mono_ns() + static_cast<std::uint64_t>(*left) * kSecond;
    const auto config = parse_pairs(text);
    if (const auto wait = config.find("KillWait"); wait != config.end()) {
      const int seconds = std::atoi(wait->second.c_str());
      if (seconds > 0) kill_wait_ = std::chrono::seconds(seconds);
    }
  }

  Reactor& reactor_;
  format::RunPaths run_;
  Owner me_;
  std::optional<Question> times_;
  std::uint64_t ends_ = kNever;
  milliseconds kill_wait_ = std::chrono::seconds(30);
  bool back_in_queue_ = false;
};

void say(const std::string& text) {
  (void)base::write_all(1, text + "\n");
}

Result<int> job_code(const format::RunPaths& run) {
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  if (state.state == format::State::succeeded || !format::is_terminal(state.state)) return 0;
  const int code = state.exit_code.value_or(1);
  return code == 0 ? 1 : code;
}

/// One supervisor on each of the other nodes. They see this run folder, and wait there for where node 0 listens.
Result<> start_nodes(const format::RunPaths& run, int nodes) {
  TRY(found_gang(run, nodes));
  TRY_ASSIGN(const auto runner, runner_program());
  const std::string count = std::to_string(nodes);
  std::vector<std::string> words = {"srun",
                                    "--nodes=" + count,
                                    "--ntasks=" + count,
                                    "--ntasks-per-node=1",
                                    "--overlap",
                                    "--kill-on-bad-exit=0",
                                    "--mpi=none",
                                    "--input=none",
                                    "sh",
                                    "-c",
                                    kNodeScript,
                                    runner.string(),
                                    run.root.string()};
  const pid_t child = ::fork();
  if (child < 0) return fail_errno("start srun", errno);
  if (child > 0) return {};  // it ends with the job; the reactor reaps it
  ::setpgid(0, 0);
  reset_signals();
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp("srun", argv.data());
  say("cannot start srun: " + errno_text(errno));
  ::_exit(127);
}

/// Node 0 learns which attempt to begin; the others hear it from node 0.
Result<Entry> entry_of(const format::RunPaths& run, const Owner& me, const format::Plan& plan) {
  if (me.job.empty())
    return fail(Errc::invalid, "supervise --foreground is for the batch process of a Slurm job",
                "there is no SLURM_JOB_ID");
  if (run.own_node > 0) return Entry{1, {}};
  TRY_ASSIGN(Entry entry, next_attempt(run, me));
  if (entry.attempt > 0 && plan.resources.nodes > 1) TRY(start_nodes(run, plan.resources.nodes));
  return entry;
}

Result<int> supervise(const format::RunPaths& run, mode_t user_mask) {
  const Owner me = this_job();
  TRY_ASSIGN(auto plan, format::read_plan(run.plan()));
  TRY_ASSIGN(const Entry entry, entry_of(run, me, plan));
  if (entry.attempt == 0) {
    say("nothing to do in job " + me.job + ": " + entry.why);
    return 0;
  }
  TRY_ASSIGN(auto reactor, Reactor::create());
  ::signal(SIGPIPE, SIG_IGN);
  become_subreaper();
  auto job = std::make_shared<SlurmJob>(*reactor, run);
  if (run.own_node == 0) job->begin();
  plan.spec = nullptr;  // for people and the index; a supervisor keeps what it uses
  plan.origins = nullptr;
  std::optional<Error> failure;
  SupervisionOptions how{.user_mask = user_mask, .enclosure = job, .attempt = entry.attempt};
  how.opened = [&](const Error* problem) {
    if (problem != nullptr) failure = *problem;
  };
  reactor->add(std::make_unique<RunSupervision>(*reactor, run, std::move(plan), std::nullopt, std::move(how)));
  ::malloc_trim(0);
  reactor->loop();
  if (failure) return fail(std::move(*failure));
  return run.own_node > 0 ? 0 : job_code(run);
}

}  // namespace

int supervise_job(const std::filesystem::path& run_dir, const SuperviseOptions& options) {
  const auto code = supervise(format::RunPaths{run_dir, std::max(0, options.node)}, options.user_mask);
  if (code) return *code;
  say("error: " + code.error().message + (code.error().hint.empty() ? "" : "\n" + code.error().hint));
  return kStoreExit;
}

}  // namespace trainctl::host::slurm
