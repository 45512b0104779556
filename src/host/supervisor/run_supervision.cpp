// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/run_supervision.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "format/event.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/admission/admission.hpp"
#include "host/distribution/group.hpp"
#include "host/distribution/layout.hpp"
#include "host/environment/environment.hpp"
#include "host/gang/lead.hpp"
#include "host/gang/messages.hpp"
#include "host/linux/kernel_log.hpp"
#include "host/supervisor/collection.hpp"
#include "host/supervisor/garbage.hpp"
#include "host/supervisor/history.hpp"
#include "host/supervisor/journal.hpp"
#include "host/supervisor/launch.hpp"
#include "host/supervisor/list_outputs.hpp"
#include "host/supervisor/log_watch.hpp"
#include "host/supervisor/node_tree.hpp"
#include "host/supervisor/preparation.hpp"
#include "host/supervisor/rank_set.hpp"
#include "host/supervisor/reactor.hpp"
#include "host/supervisor/verdict.hpp"
#include "host/waiter/waiter.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

using format::Cause;
using format::State;

constexpr std::uint64_t kLookBetweenAttempts = 1000 * kMillisecond;  // for requests

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

}  // namespace

RunSupervision::RunSupervision(Reactor& reactor, format::RunPaths run, format::Plan plan,
                               std::optional<base::FileLock> lock, SupervisionOptions options)
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

void RunSupervision::recall(int attempts) {
  const History history = read_history(run_, attempts);
  for (const std::string& request : history.acknowledged) inbox_.mark_seen(request);
  retries_ = history.retries;
}

void RunSupervision::start() {
  if (auto joined = join_gang(); !joined) return give_up(joined.error());
  if (options_.enclosure) return enter_enclosure();
  attempt_ = format::last_attempt(run_);
  if (attempt_ == 0 && membership_ && (node_ || options_.start_unstarted)) return await_word();
  if (attempt_ == 0) return begin_attempt(1, false);
  recall(attempt_);
  const auto events = format::read_lines(run_.attempt(attempt_).events());
  const auto end = events ? end_of(*events) : std::nullopt;
  if (!end) {
    begin_attempt(attempt_, true);
  } else if (text_of(*end, "next") == "retry") {
    backoff_until_ = node_ ? kNever : base::mono_ns();  // whoever started us again wants it to go on
    phase_ = Phase::backoff;
    if (node_) recall_report(*end);
    if (node_) report_opened(nullptr);
  } else {
    remove_secrets();
    phase_ = Phase::done;
    report_opened(nullptr);
  }
}

void RunSupervision::report_opened(const Error* problem) {
  if (const auto opened = std::exchange(options_.opened, nullptr)) opened(problem);
}

Result<> RunSupervision::open_attempt(int number) {
  const format::AttemptPaths paths = run_.attempt(number);
  TRY(base::make_directory(run_.attempts()));
  TRY(base::make_directory(paths.root));
  if (run_.own_node > 0) TRY(base::make_directories(paths.own_folder()));
  TRY_ASSIGN(journal_, Journal::open(paths, number));
  return {};
}

void RunSupervision::begin_attempt(int number, bool adopt) {
  attempt_ = number;
  const format::AttemptPaths paths = run_.attempt(number);
  stop_cause_.reset();
  suspected_ = false;
  stop_since_ = kNever;
  preparing_since_ = kNever;
  warned_ = false;
  signals_are_old_ = adopt;
  next_sample_ = kNever;
  next_group_look_ = kNever;
  gpus_ = options_.enclosure ? options_.enclosure->gpus() : std::vector<int>();
  memory_watch_.reset();
  containers_.reset();
  attempt_since_ = base::mono_ns();
  problem_.reset();
  if (!is_mine(paths)) return;
  if (auto opened = open_attempt(number); !opened) return give_up(opened.error());
  report_opened(nullptr);
  if (lead_) lead_->begin(number);
  if (!options_.start_unstarted && !adopt && number == 1) {
    return finish_unstarted({.state = State::failed, .cause = Cause::start, .message = "was never started"});
  }
  if (options_.enclosure && is_spent(retries_)) {
    return finish_unstarted({.state = State::failed,
                             .cause = Cause::node,
                             .message = "was cut off by its batch system too often: " +
                                        std::to_string(retries_.infrastructure) + " times"});
  }
  ports_.reset();
  stopper_ = make_stopper(plan_, paths);
  const int first = first_rank(plan_, run_.own_node);
  const int count = waiter_count(plan_, run_.own_node);
  ranks_ = std::make_unique<RankSet>(reactor_, paths, first, count);
  logs_ = std::make_unique<LogWatch>(reactor_, paths, first, uses_mpi(plan_) ? world_size(plan_) : count);
  if (!is_guest()) watch_control();
  if (adopt) {
    remove_drafts(run_, attempt_, is_guest());
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
    end_ranks(usual_stop(plan_), cause, stop_message_, now);
  }
  if (lead_ && journal_->rendezvous()) lead_->launch(*journal_->rendezvous());
  if (journal_->verdict()) return collect(*journal_->verdict());
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
  if (stop_cause_ || options_.enclosure || !needs_slot(slot_request())) return prepare();
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
  if (auto claimed = claim_node_tree(); !claimed)
    return finish_unstarted({.state = State::failed, .cause = Cause::start, .message = claimed.error().message});
  phase_ = Phase::preparing;
  preparing_since_ = base::mono_ns();
  const bool work = !is_guest() && !journal_->prepared();  // node 0 has made it for its guests
  const PreparationOptions options{.attempt = attempt_,
                                   .work = work,
                                   .afresh = journal_->rebooted(),
                                   .spare = work && !options_.enclosure};  // nothing may outlive a batch job
  if (is_quick_to_prepare(plan_, attempt_)) return on_prepared(prepare_attempt(plan_, run_, options));
  journal_->enter(State::preparing, preparation_message(plan_));
  auto started =
      preparation_.start(plan_, run_, options, [this](PreparationResult result) { on_prepared(std::move(result)); });
  if (!started) finish_unstarted({.state = State::failed, .cause = Cause::start, .message = started.error().message});
}

Result<> RunSupervision::claim_node_tree() {
  node_tree_.reset();
  if (!unpacks_on_node(plan_)) return {};
  TRY_ASSIGN(auto tree, NodeTree::claim(run_.attempt(attempt_)));
  node_tree_.emplace(std::move(tree));
  return {};
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
  // A batch system has set what its job may see: that is only shared out among several processes.
  result->hide_gpus = options_.enclosure ? is_distributed(plan_) && !gpus_.empty() : plan_.resources.gpus.has_value();
  metrics_.prepare(plan_, run_.attempt(attempt_), *result);
  if (membership_) return gather(std::move(*result));
  launch(*result);
}

Result<std::vector<RankLaunch>> RunSupervision::make_launches(const Prepared& prepared) {
  const format::AttemptPaths paths = run_.attempt(attempt_);
  if (!prepared.environment.empty()) {
    TRY_ASSIGN(const Json json, base::parse_json(prepared.environment));
    TRY_ASSIGN(const auto built, built_environment_from_json(json));
    TRY_ASSIGN(environment_use_, EnvironmentUse::acquire(format::StorePaths{run_.store()}.environments(), built));
    journal_->note_environment(built);
  }
  if (prepared.container) journal_->note_container(*prepared.container);
  for (const auto& folder : {paths.logs(), paths.own_folder().parent_path(), paths.own_folder(), paths.metrics()}) {
    TRY(base::make_directory(folder));
  }
  std::vector<RankLaunch> launches;
  Prepared met = prepared;
  if (!membership_) {
    TRY_ASSIGN(ports_, reserve_ports(plan_));
    if (ports_) met.rendezvous = rendezvous_at(ports_->ports());
  }
  for (const Rank& rank : ranks_->ranks()) {
    TRY_ASSIGN(RankLaunch one, make_launch(plan_, run_, attempt_, rank.number, met));
    one.mask = options_.user_mask;
    one.ends_with_supervisor = options_.enclosure != nullptr;
    if (memory_limit_) one.cgroup_files.push_back(memory_limit_->procs_file());
    if (ticket_) one.kept_fds.push_back(ticket_->slot_fd());
    if (ports_) one.kept_fds.push_back(ports_->claim_fd());
    if (environment_use_) one.kept_fds.push_back(environment_use_->fd());
    launches.push_back(std::move(one));
  }
  return launches;
}

void RunSupervision::launch(const Prepared& prepared) {
  limit_memory(false);
  auto made = make_launches(prepared);
  if (!made) {
    return finish_unstarted({.state = State::failed, .cause = Cause::start, .message = made.error().message});
  }
  if (!journal_->prepared()) journal_->mark_prepared();
  phase_ = Phase::active;
  ranks_->start(*made);
  metrics_.start(plan_, run_.attempt(attempt_), base::mono_ns());
}

/// Whether there is another try is decided first: only what stays is listed.
void RunSupervision::conclude(AttemptEnd end) {
  end.retry = may_retry(end);
  if (membership_ && end_gang(end)) return;
  collect(std::move(end));
}

void RunSupervision::collect(AttemptEnd end) {
  const format::AttemptPaths paths = run_.attempt(attempt_);
  const bool own = !is_guest();
  const bool list = own && !end.retry && (!plan_.keep.empty() || has_outputs(paths.outputs()));
  if (!own || (!list && plan_.keep.empty())) return finish(std::move(end));
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
  std::uint64_t peak = std::max(sampler_ ? sampler_->memory_peak() : 0, ranks_ ? ranks_->memory_peak() : 0);
  if (!lead_) return peak;
  for (const GangLead::Node& node : lead_->nodes()) peak = std::max(peak, node.report.memory_peak);
  return peak;
}

void RunSupervision::finish_unstarted(AttemptEnd end) {
  if (ranks_) ranks_->fence();
  end.retry = may_retry(end);
  if (membership_) {
    stop_gang(usual_stop(plan_), end.cause, end.message);
    if (node_ && !stop_cause_) problem_ = {.cause = end.cause, .message = end.message};
    if (end_gang(end)) return;
  }
  finish(std::move(end));
}

std::map<std::string, std::uint64_t> RunSupervision::log_sizes() const {
  std::map<std::string, std::uint64_t> sizes;
  const auto folder = run_.attempt(attempt_).logs();
  for (const std::string& name : base::list_directory(folder).value_or(std::vector<std::string>{})) {
    if (name.ends_with(".log")) sizes[name] = base::file_size(folder / name).value_or(0);
  }
  if (!lead_) return sizes;
  for (const GangLead::Node& node : lead_->nodes()) sizes.insert(node.report.logs.begin(), node.report.logs.end());
  return sizes;
}

void RunSupervision::finish(AttemptEnd end) {
  if (lead_ && !lead_->ended()) {  // the record of the run is complete when those of its nodes are
    ending_ = std::move(end);
    phase_ = Phase::closing;
    return;
  }
  if (logs_) logs_->look(base::mono_ns());
  end.memory_peak = std::max(end.memory_peak, memory_peak());
  const std::map<std::string, std::uint64_t> sizes = log_sizes();
  if (!end.retry) remove_secrets();
  remove_drafts(run_, attempt_, is_guest());
  if (auto written = journal_->end(end, sizes); !written) return give_up(written.error());
  sync_logs(sizes);
  if (node_) {
    last_report_ = report();
    last_report_.step = NodeStep::ended;
    last_report_.logs = sizes;
  }
  forget_attempt();
  if (node_) return await_next(end.retry);
  if (end.retry) return back_off(end.cause);
  if (lead_) lead_->leave();
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
  node_tree_.reset();
  sampler_.reset();
  ports_.reset();
  ranks_.reset();
  stopper_.reset();
  logs_.reset();
  prepared_.reset();
  ending_.reset();
}

void RunSupervision::back_off(Cause cause) {
  if (options_.enclosure && (options_.enclosure->hand_on(cause) || asked_to_go_)) {
    phase_ = Phase::done;
    return;
  }
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
  if (is_guest()) return;
  const std::string target = std::string("attempts/") + std::to_string(attempt_) + "/work/outputs";
  if (attempt_ == 1 && ::symlink(target.c_str(), run_.outputs_link().c_str()) == 0) return;
  const auto draft = run_.root / (".outputs-" + base::new_ulid());
  if (::symlink(target.c_str(), draft.c_str()) == 0 && ::rename(draft.c_str(), run_.outputs_link().c_str()) != 0) {
    ::unlink(draft.c_str());
  }
}

void RunSupervision::remove_secrets() const {
  const bool others = is_guest();  // the store is node 0's, too
  if (!plan_.secrets.empty() && !others) ::unlink(format::StorePaths{run_.store()}.secrets(run_.id()).c_str());
}

void RunSupervision::on_orphan(pid_t pid, int status) {
  if (ranks_) ranks_->on_orphan(pid, status);
}

void RunSupervision::on_time(std::uint64_t now) {
  const Phase before = phase_;
  do_what_is_due(now);
  moved_on_ = membership_.has_value() && phase_ != before;
}

void RunSupervision::do_what_is_due(std::uint64_t now) {
  if (lead_) lead_gang(now);
  if (node_) obey(now);
  // A request that comes between two attempts is for the next one: it ends that before it starts.
  const bool due = now >= backoff_until_ || (!node_ && inbox_.has_new());
  if (phase_ == Phase::backoff && due) begin_attempt(attempt_ + 1, false);
  if (phase_ != Phase::backoff && phase_ != Phase::done) read_requests(now);
  if (phase_ >= Phase::queued && phase_ <= Phase::active) check_limits(now);
  if (phase_ == Phase::queued) try_admit(now);
  if (phase_ == Phase::active || phase_ == Phase::draining) tick_ranks(now);
}

void RunSupervision::tick_ranks(std::uint64_t now) {
  const std::size_t leftovers = stopper_->tick(now, ranks_->ranks());
  if (leftovers > 0 && phase_ == Phase::draining) {
    journal_->warn("the program had ended, but " + std::to_string(leftovers) +
                   " of its processes were still there: they are stopped");
  }
  logs_->tick(now);
  sample(now);
  metrics_.tick(plan_, run_.attempt(attempt_), now);
  phase_ == Phase::active ? follow_ranks(now) : drain(now);
}

std::uint64_t RunSupervision::next_deadline() const {
  if (phase_ == Phase::done) return kNever;
  if (moved_on_) return 0;  // the other machines want to know at once
  const std::uint64_t gang = membership_ ? gang_deadline() : kNever;
  if (phase_ == Phase::backoff) return std::min({backoff_until_, gang, base::mono_ns() + kLookBetweenAttempts});
  std::uint64_t next = std::min(gang, is_guest() ? kNever : next_inbox_);
  if (inbox_dirty_) next = 0;
  if (phase_ >= Phase::collecting) return next;
  if (phase_ == Phase::queued) return std::min({next, limit_deadline(), next_admission_});
  if (phase_ == Phase::preparing || phase_ == Phase::gathering) return std::min(next, limit_deadline());
  next = std::min({next, stopper_->next_deadline(), logs_->next_deadline(), ranks_->next_poll(), next_sample_,
                   next_group_look_, metrics_.next_deadline()});
  if (phase_ == Phase::draining) return next;
  return std::min(next, limit_deadline());
}

}  // namespace trainctl::host
