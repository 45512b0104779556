// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/run_supervision.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.hpp"
#include "base/process.hpp"
#include "base/ulid.hpp"
#include "host/distribution/group.hpp"
#include "host/distribution/layout.hpp"
#include "host/linux/kernel_log.hpp"
#include "host/supervisor/garbage.hpp"
#include "host/supervisor/list_outputs.hpp"

namespace trainctl::host {
namespace {

using format::Cause;
using format::State;

constexpr std::uint64_t kDiskFullBelow = 64U << 10U;
constexpr std::uint64_t kGroupInterval = 500 * kMillisecond;

std::string text_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// The `end` of an attempt, when it has one.
std::optional<Json> end_of(const std::vector<Json>& events) {
  for (const Json& line : events) {
    if (text_of(line, "type") == "end") return line;
  }
  return std::nullopt;
}

/// Whether memory was the end of it: in a container the runner inside has seen it, else the kernel tells.
void judge_memory(const RankExit& exit, pid_t pid, const std::optional<MemoryLimit>& limit, Outcome& result) {
  result.memory_limit_hit = exit.cause == to_string(Cause::memory_limit) || (limit && limit->oom_kills() > 0);
  result.oom_killed =
      exit.cause == to_string(Cause::oom_kernel) || (exit.signal == SIGKILL && kernel_killed_for_memory(pid));
}

}  // namespace

RunSupervision::RunSupervision(Reactor& reactor, format::RunPaths run, format::Plan plan, base::FileLock lock,
                               SupervisionOptions options)
    : reactor_(reactor),
      run_(std::move(run)),
      plan_(std::move(plan)),
      lock_(std::move(lock)),
      options_(std::move(options)),
      inbox_(run_.control()),
      preparation_(reactor),
      metrics_(reactor),
      collection_(reactor),
      containers_(reactor) {}

void RunSupervision::read_history() {
  for (int n = 1; n <= attempt_; ++n) {
    const auto events = format::read_lines(run_.attempt(n).events());
    if (!events) continue;
    for (const Json& line : *events) {
      if (text_of(line, "type") == "control") inbox_.mark_seen(text_of(line, "request"));
    }
    const auto end = end_of(*events);
    if (!end || text_of(*end, "next") != "retry") continue;
    const auto cause = format::parse_cause(text_of(*end, "cause"));
    ++(cause && is_infrastructure(*cause) ? retries_.infrastructure : retries_.asked);
  }
}

void RunSupervision::start() {
  attempt_ = format::last_attempt(run_);
  if (attempt_ == 0) {
    begin_attempt(1, false);
    return;
  }
  read_history();
  const auto events = format::read_lines(run_.attempt(attempt_).events());
  const auto end = events ? end_of(*events) : std::nullopt;
  if (!end) {
    begin_attempt(attempt_, true);
  } else if (text_of(*end, "next") == "retry") {
    backoff_until_ = base::mono_ns();  // whoever started us again wants it to go on
    phase_ = Phase::backoff;
  } else {
    remove_secrets();
    phase_ = Phase::done;
    report_opened(nullptr);
  }
}

void RunSupervision::report_opened(const Error* problem) {
  if (const auto opened = std::exchange(options_.opened, nullptr)) opened(problem);
}

void RunSupervision::begin_attempt(int number, bool adopt) {
  attempt_ = number;
  const format::AttemptPaths paths = run_.attempt(number);
  stop_cause_.reset();
  stop_since_ = kNever;
  preparing_since_ = kNever;
  warned_ = false;
  next_sample_ = kNever;
  next_group_look_ = kNever;
  gpus_.clear();
  memory_watch_.reset();
  containers_.reset();
  attempt_since_ = base::mono_ns();
  auto opened = [&]() -> Result<Journal> {
    TRY(base::make_directory(run_.attempts()));
    TRY(base::make_directory(paths.root));
    return Journal::open(paths, number);
  }();
  if (!opened) return give_up(opened.error());
  journal_ = std::move(*opened);
  report_opened(nullptr);
  if (!options_.start_unstarted && !adopt && number == 1) {
    return finish_unstarted({.state = State::failed, .cause = Cause::start, .message = "was never started"});
  }
  ports_.reset();
  stopper_ = make_stopper(plan_, paths);
  ranks_ = std::make_unique<RankSet>(reactor_, paths, waiter_count(plan_));
  logs_ = std::make_unique<LogWatch>(reactor_, paths, world_size(plan_));
  watch_control();
  if (adopt) {
    remove_drafts(run_, attempt_);
    if (auto adopted = ranks_->adopt(); !adopted) return give_up(adopted.error());
    resume_attempt();
  } else {
    admit();
  }
}

/// Takes up where a dead supervisor left off.
void RunSupervision::resume_attempt() {
  const std::uint64_t now = base::mono_ns();
  const bool any_file =
      std::any_of(ranks_->ranks().begin(), ranks_->ranks().end(), [](const Rank& rank) { return rank.record.exists; });
  phase_ = Phase::active;
  if (const auto cause = journal_->stopping_cause()) {
    stop_cause_ = cause;
    stop_since_ = journal_->stopping_since();
    stop_message_ = "stopped (" + std::string(to_string(*cause)) + ")";
    stopper_->begin(signal_number(plan_.stop.signal).value_or(SIGINT), plan_.stop.grace, now);
  }
  if (!any_file) return admit();
  limit_memory(true);
  metrics_.adopt(plan_, run_.attempt(attempt_), now);
  // Of a group only some were started: those wait for the others in vain. The attempt ends, the next one has all.
  if (ranks_->unstarted()) ranks_->fence();
}

/// First the slot, then the work: what the host cannot give is said before anything is built.
void RunSupervision::admit() {
  const std::uint64_t now = base::mono_ns();
  read_requests(now);
  if (stop_cause_ || !needs_slot(slot_request())) return prepare();
  phase_ = Phase::queued;
  enqueue(now);
}

void RunSupervision::prepare() {
  read_requests(base::mono_ns());
  if (stop_cause_) {
    phase_ = Phase::active;  // nothing runs: following the ranks finds it settled and writes the end
    return;
  }
  link_outputs();
  phase_ = Phase::preparing;
  preparing_since_ = base::mono_ns();
  const PreparationOptions options{.attempt = attempt_, .work = !journal_->prepared(), .afresh = journal_->rebooted()};
  if (is_quick_to_prepare(plan_, attempt_)) return on_prepared(prepare_attempt(plan_, run_, options));
  journal_->enter(State::preparing, preparation_message(plan_));
  auto started =
      preparation_.start(plan_, run_, options, [this](PreparationResult result) { on_prepared(std::move(result)); });
  if (!started) finish_unstarted({.state = State::failed, .cause = Cause::start, .message = started.error().message});
}

void RunSupervision::on_prepared(PreparationResult result) {
  if (stop_cause_) {
    phase_ = Phase::active;
    return;
  }
  if (!result) {
    return finish_unstarted({.state = State::failed, .cause = result.error().cause, .message = result.error().message});
  }
  result->gpus = gpus_;
  result->hide_gpus = plan_.resources.gpus.has_value();
  metrics_.prepare(plan_, run_.attempt(attempt_), *result);
  launch(*result);
}

void RunSupervision::launch(const Prepared& prepared) {
  limit_memory(false);
  const format::AttemptPaths paths = run_.attempt(attempt_);
  auto made = [&]() -> Result<std::vector<RankLaunch>> {
    if (!prepared.environment.empty()) {
      TRY_ASSIGN(const Json json, base::parse_json(prepared.environment));
      TRY_ASSIGN(const auto built, built_environment_from_json(json));
      TRY_ASSIGN(environment_use_, EnvironmentUse::acquire(format::StorePaths{run_.store()}.environments(), built));
      journal_->note_environment(built);
    }
    if (prepared.container) journal_->note_container(*prepared.container);
    for (const auto& folder : {paths.logs(), paths.node(0).parent_path(), paths.node(0), paths.metrics()}) {
      TRY(base::make_directory(folder));
    }
    std::vector<RankLaunch> launches;
    TRY_ASSIGN(ports_, reserve_ports(plan_));
    Prepared met = prepared;
    if (ports_) met.rendezvous = rendezvous_at(ports_->ports());
    for (int r = 0; r < waiter_count(plan_); ++r) {
      TRY_ASSIGN(RankLaunch one, make_launch(plan_, run_, attempt_, r, met));
      one.mask = options_.user_mask;
      if (memory_limit_) one.cgroup_files.push_back(memory_limit_->procs_file());
      if (ticket_) one.kept_fds.push_back(ticket_->slot_fd());
      if (ports_) one.kept_fds.push_back(ports_->claim_fd());
      if (environment_use_) one.kept_fds.push_back(environment_use_->fd());
      launches.push_back(std::move(one));
    }
    return launches;
  }();
  if (!made) {
    return finish_unstarted({.state = State::failed, .cause = Cause::start, .message = made.error().message});
  }
  if (!journal_->prepared()) journal_->mark_prepared();
  phase_ = Phase::active;
  ranks_->start(*made);
  metrics_.start(plan_, paths, base::mono_ns());
}

/// Not once it is being stopped: states do not go back.
void RunSupervision::note_running() {
  if (!ranks_ || stop_cause_ || journal_->running_since() || !ranks_->any_running()) return;
  journal_->enter(State::running);
  logs_->begin();
}

void RunSupervision::follow_ranks(std::uint64_t now) {
  ranks_->poll(now);
  note_running();
  follow_group(now);
  for (const Rank& rank : ranks_->ranks()) {
    const bool failed = (rank.record.exit && rank.record.exit->code != 0) || rank.lost;
    if (failed && !stopper_->stopping() && !ranks_->settled()) stop_others(rank.number, now);
  }
  if (!ranks_->settled()) return;
  phase_ = Phase::draining;
  drain(now);
}

/// What is to be known of the ranks together: they have all started; one below mpiexec failed; or the training is over,
/// and servers, which would run for ever, are stopped: that is success.
void RunSupervision::follow_group(std::uint64_t now) {
  const auto& ranks = ranks_->ranks();
  if (ports_ && std::all_of(ranks.begin(), ranks.end(), [](const Rank& rank) { return rank.running; }))
    ports_->release();
  if (stopper_->stopping() || ranks_->settled()) {
    next_group_look_ = kNever;
    return;
  }
  if (uses_mpi(plan_)) {
    if (next_group_look_ != kNever && now < next_group_look_) return;
    next_group_look_ = now + kGroupInterval;
    if (const auto failed = failed_mpi_rank(plan_, run_.attempt(attempt_))) stop_others(*failed, now);
    return;
  }
  if (!training_is_over(plan_, ranks)) return;
  journal_->enter(State::stopping, "the training is over, its servers are stopped");
  const StopPlan how = server_stop(plan_);
  stopper_->begin(how.signal, how.grace, now);
}

void RunSupervision::drain(std::uint64_t now) {
  if (!ranks_->waiters_gone() || (!ranks_->trees_clean() && !stopper_->tree_empty(ranks_->ranks()))) {
    stopper_->begin_leftovers(now);
    return;
  }
  ranks_->fence();
  if (!ranks_->settled()) {
    phase_ = Phase::active;  // a late waiter of our predecessor was quicker than the fence
    return;
  }
  const bool stopped = stopper_->stopping() || stop_cause_.has_value();
  if (plan_.container && !containers_.done(run_, attempt_, ranks_->ranks(), stopped)) return;
  metrics_.finish(plan_, run_.attempt(attempt_), now);
  if (!metrics_.busy()) conclude(judge(outcome()));
}

/// Whether there is another try is decided first: only what stays is listed.
void RunSupervision::conclude(AttemptEnd end) {
  end.retry = may_retry(end);
  const format::AttemptPaths paths = run_.attempt(attempt_);
  const bool list = !end.retry && (!plan_.keep.empty() || has_outputs(paths.outputs()));
  if (!list && plan_.keep.empty()) return finish(std::move(end));
  end.memory_peak = memory_peak();
  leave_host();  // the next run need not wait for our hashes
  phase_ = Phase::collecting;
  journal_->enter(State::collecting);
  collection_.start(plan_, paths, list, [this, end = std::move(end)](const Collected& collected) mutable {
    for (const std::string& warning : collected.warnings) journal_->warn(warning);
    end.output_files = collected.files;
    end.output_bytes = collected.bytes;
    finish(std::move(end));
  });
}

bool RunSupervision::may_retry(const AttemptEnd& end) const {
  bool start_may_be_retried = end.cause == Cause::start && end.rank.has_value();
  if (ranks_) {
    // A program that does not exist will not exist a second later.
    start_may_be_retried &= std::none_of(ranks_->ranks().begin(), ranks_->ranks().end(), [](const Rank& rank) {
      return rank.record.exit && rank.record.exit->cause == "start" && !rank.record.exit->retryable;
    });
  }
  return should_retry(end, start_may_be_retried, plan_.retry, retries_);
}

std::uint64_t RunSupervision::memory_peak() const {
  return std::max(sampler_ ? sampler_->memory_peak() : 0, ranks_ ? ranks_->memory_peak() : 0);
}

Outcome RunSupervision::outcome() const {
  Outcome result;
  bool stop_counts = false;
  std::uint64_t first = kNever;
  for (const Rank& rank : ranks_->ranks()) {
    if (!rank.lost || result.lost_rank) continue;
    result.lost_rank = rank.number;
    result.lost_why = *rank.lost;
  }
  const std::vector<JudgedRank> ranks = judged_ranks(plan_, run_.attempt(attempt_), ranks_->ranks());
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    const auto& exit = ranks[r].exit;
    result.ranks.push_back(exit);
    if (!exit || exit->mono_ns >= stop_since_) {
      stop_counts = true;
      continue;
    }
    if (exit->code == 0 || exit->mono_ns >= first) continue;
    first = exit->mono_ns;
    result.deciding = static_cast<int>(r);
  }
  if (stop_cause_ && stop_counts) result.stopped_for = stop_cause_;
  result.stop_message = stop_message_;
  if (result.deciding) {
    const RankExit& exit = *result.ranks[static_cast<std::size_t>(*result.deciding)];
    const pid_t pid = ranks[static_cast<std::size_t>(*result.deciding)].pid;
    if (ports_) result.port_taken = port_taken(plan_, run_.attempt(attempt_), *ports_);
    judge_memory(exit, pid, memory_limit_, result);
    result.disk_full = base::free_bytes(run_.root) < kDiskFullBelow;
  }
  return result;
}

void RunSupervision::finish_unstarted(AttemptEnd end) {
  if (ranks_) ranks_->fence();
  end.retry = may_retry(end);
  finish(std::move(end));
}

std::map<std::string, std::uint64_t> RunSupervision::log_sizes() const {
  std::map<std::string, std::uint64_t> sizes;
  const auto folder = run_.attempt(attempt_).logs();
  const auto logs = base::list_directory(folder);
  if (!logs) return sizes;
  for (const std::string& name : *logs) {
    if (name.ends_with(".log")) sizes[name] = base::file_size(folder / name).value_or(0);
  }
  return sizes;
}

void RunSupervision::finish(AttemptEnd end) {
  if (logs_) logs_->look(base::mono_ns());
  end.memory_peak = std::max(end.memory_peak, memory_peak());
  const std::map<std::string, std::uint64_t> sizes = log_sizes();
  if (!end.retry) remove_secrets();
  remove_drafts(run_, attempt_);
  if (auto written = journal_->end(end, sizes); !written) return give_up(written.error());
  sync_logs(sizes);
  forget_attempt();
  if (end.retry) return back_off(end.cause);
  phase_ = Phase::done;
}

void RunSupervision::sync_logs(const std::map<std::string, std::uint64_t>& sizes) const {
  for (const auto& [name, size] : sizes) {
    if (size == 0) continue;
    if (const auto fd = base::open_file(run_.attempt(attempt_).logs() / name, O_RDONLY))
      (void)base::sync_file(fd->get());
  }
}

void RunSupervision::forget_attempt() {
  leave_host();
  sampler_.reset();
  ports_.reset();
  ranks_.reset();
  stopper_.reset();
  logs_.reset();
}

void RunSupervision::back_off(Cause cause) {
  ++(is_infrastructure(cause) ? retries_.infrastructure : retries_.asked);
  backoff_until_ = base::mono_ns() + static_cast<std::uint64_t>(plan_.retry.backoff.count()) * kMillisecond;
  phase_ = Phase::backoff;
}

/// The run folder cannot be written or read: nothing can be recorded, so leave it to a later supervisor.
void RunSupervision::give_up(const Error& error) {
  report_opened(&error);
  (void)base::write_file_atomic(run_.attempt(attempt_).root / "runner-error.txt", error.message + "\n");
  phase_ = Phase::done;
}

void RunSupervision::link_outputs() const {
  const std::string target = std::string("attempts/") + std::to_string(attempt_) + "/work/outputs";
  if (attempt_ == 1 && ::symlink(target.c_str(), run_.outputs_link().c_str()) == 0) return;
  const auto draft = run_.root / (".outputs-" + base::new_ulid());
  if (::symlink(target.c_str(), draft.c_str()) == 0 && ::rename(draft.c_str(), run_.outputs_link().c_str()) != 0) {
    ::unlink(draft.c_str());
  }
}

void RunSupervision::remove_secrets() const {
  if (!plan_.secrets.empty()) ::unlink(format::StorePaths{run_.store()}.secrets(run_.id()).c_str());
}

void RunSupervision::on_orphan(pid_t pid, int status) {
  if (ranks_) ranks_->on_orphan(pid, status);
}

void RunSupervision::on_time(std::uint64_t now) {
  // A request that comes between two attempts is for the next one: it ends that before it starts.
  if (phase_ == Phase::backoff && (now >= backoff_until_ || inbox_.has_new())) begin_attempt(attempt_ + 1, false);
  if (phase_ != Phase::backoff) read_requests(now);
  if (phase_ == Phase::queued || phase_ == Phase::preparing || phase_ == Phase::active) check_limits(now);
  if (phase_ == Phase::queued) try_admit(now);
  if (phase_ == Phase::active || phase_ == Phase::draining) {
    const std::size_t leftovers = stopper_->tick(now, ranks_->ranks());
    if (leftovers > 0 && phase_ == Phase::draining) {
      journal_->warn("the program had ended, but " + std::to_string(leftovers) +
                     " of its processes were still there: they are stopped");
    }
    logs_->tick(now);
    sample(now);
    metrics_.tick(plan_, run_.attempt(attempt_), now);
  }
  if (phase_ == Phase::active)
    follow_ranks(now);
  else if (phase_ == Phase::draining)
    drain(now);
}

std::uint64_t RunSupervision::next_deadline() const {
  if (phase_ == Phase::done) return kNever;
  std::uint64_t next = inbox_dirty_ ? 0 : next_inbox_;
  if (phase_ == Phase::backoff) return std::min(next, backoff_until_);
  if (phase_ == Phase::collecting) return next;
  if (phase_ == Phase::queued) return std::min({next, limit_deadline(), next_admission_});
  if (phase_ == Phase::preparing) return std::min(next, limit_deadline());
  next = std::min({next, stopper_->next_deadline(), logs_->next_deadline(), ranks_->next_poll(), next_sample_,
                   next_group_look_, metrics_.next_deadline()});
  if (phase_ == Phase::draining) return next;
  return std::min(next, limit_deadline());
}

}  // namespace trainctl::host
