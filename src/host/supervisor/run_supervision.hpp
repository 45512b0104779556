// SPDX-License-Identifier: Apache-2.0
// One run from start or adoption to its final end: attempts, limits, stop requests, retries.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/file.hpp"
#include "format/fold.hpp"
#include "format/plan.hpp"
#include "host/admission/admission.hpp"
#include "host/container/cleanup.hpp"
#include "host/distribution/group.hpp"
#include "host/distribution/ports.hpp"
#include "host/environment/environment.hpp"
#include "host/gang/lead.hpp"
#include "host/gang/membership.hpp"
#include "host/gang/node.hpp"
#include "host/resources/memory_limit.hpp"
#include "host/resources/sampler.hpp"
#include "host/supervisor/collection.hpp"
#include "host/supervisor/enclosure.hpp"
#include "host/supervisor/inbox.hpp"
#include "host/supervisor/journal.hpp"
#include "host/supervisor/log_watch.hpp"
#include "host/supervisor/metric_sources.hpp"
#include "host/supervisor/node_tree.hpp"
#include "host/supervisor/preparation.hpp"
#include "host/supervisor/rank_set.hpp"
#include "host/supervisor/reactor.hpp"
#include "host/supervisor/stopper.hpp"
#include "host/supervisor/verdict.hpp"

namespace trainctl::host {

/// How this supervision came to be.
struct SupervisionOptions {
  mode_t user_mask = 022;       ///< the submitter's umask, for the ranks
  bool start_unstarted = true;  ///< false: a run without any attempt is ended instead ("was never started")
  bool prove_lead = false;      ///< a node of a gang: not being able to reach node 0 is an error
  std::shared_ptr<Enclosure> enclosure = {};  ///< unset: the machine is ours, as far as admission gives it
  int attempt = 0;                            ///< in an enclosure: the attempt to begin
  /// Called once: with null when the record of the attempt is open, else with why it cannot be.
  std::function<void(const Error* problem)> opened = {};
};

class RunSupervision final : public Supervised {
 public:
  /// `lock` is the held supervisor.lock; in an enclosure the claim of the attempt takes its place.
  RunSupervision(Reactor& reactor, format::RunPaths run, format::Plan plan, std::optional<base::FileLock> lock,
                 SupervisionOptions options);

  void start() override;
  void on_time(std::uint64_t now) override;
  [[nodiscard]] std::uint64_t next_deadline() const override;
  void on_orphan(pid_t pid, int status) override;
  [[nodiscard]] bool done() const override { return phase_ == Phase::done; }

 private:
  /// With several machines: `gathering` until all are ready, `closing` until all have ended the attempt, and `leaving`
  /// when a node waits to be let go.
  enum class Phase { backoff, queued, preparing, gathering, active, draining, collecting, closing, leaving, done };

  /// Here is a node that works in the folder of node 0, which makes and removes what all share.
  [[nodiscard]] bool is_guest() const { return node_ && membership_->shared; }

  // The life of the run (run_supervision.cpp)
  void do_what_is_due(std::uint64_t now);
  void tick_ranks(std::uint64_t now);
  void begin_attempt(int number, bool adopt);
  Result<> open_attempt(int number);
  void resume_attempt();
  void admit();
  void prepare();
  Result<> claim_node_tree();
  void on_prepared(PreparationResult result);
  void launch(const Prepared& prepared);
  Result<std::vector<RankLaunch>> make_launches(const Prepared& prepared);
  void conclude(AttemptEnd end);
  void collect(AttemptEnd end);
  [[nodiscard]] bool may_retry(const AttemptEnd& end) const;
  [[nodiscard]] std::uint64_t memory_peak() const;
  void finish(AttemptEnd end);
  void sync_logs(const std::map<std::string, std::uint64_t>& sizes) const;
  void forget_attempt();
  void back_off(format::Cause cause);
  [[nodiscard]] std::map<std::string, std::uint64_t> log_sizes() const;
  void finish_unstarted(AttemptEnd end);
  void give_up(const Error& error);
  void report_opened(const Error* problem);
  void link_outputs() const;
  void remove_secrets() const;
  void recall(int attempts);

  // The ranks of an attempt, and how it ended (run_ranks.cpp)
  void follow_ranks(std::uint64_t now);
  void note_running();
  void follow_group(std::uint64_t now);
  void drain(std::uint64_t now);
  [[nodiscard]] bool ranks_settled() const;
  [[nodiscard]] RankExits all_exits() const;
  [[nodiscard]] Outcome outcome() const;
  [[nodiscard]] std::vector<JudgedRank> known_ranks(Outcome& result) const;
  void explain_own_rank(const JudgedRank& rank, Outcome& result) const;
  [[nodiscard]] AttemptEnd verdict() const;

  // Several machines: what the lead does (run_lead.cpp) …
  Result<> join_gang();
  void await_word();
  void lead_gang(std::uint64_t now);
  void gather(Prepared prepared);
  void launch_gang();
  void say_who_is_missing(std::uint64_t now);
  bool stop_for_problem(std::uint64_t now);
  void follow_remote_ranks(std::uint64_t now);
  void add_remote_ranks(std::vector<JudgedRank>& known, Outcome& result) const;
  void stop_gang(const StopPlan& how, std::optional<format::Cause> cause, const std::string& message);
  bool end_gang(AttemptEnd& end);
  void doubt_success(AttemptEnd& end) const;
  void name_node(AttemptEnd& end) const;
  [[nodiscard]] bool waits_for_nodes() const;
  [[nodiscard]] std::uint64_t last_growth() const;
  [[nodiscard]] std::uint64_t gang_deadline() const;
  // … and what another node does (run_node.cpp)
  void obey(std::uint64_t now);
  void obey_in_attempt(std::uint64_t now);
  void obey_signals();
  void between_attempts(const GangOrder& order);
  bool obey_stop(std::uint64_t now);
  void launch_as_told();
  bool prove_lead(std::uint64_t now);
  void end_for_nobody(const std::string& why, std::uint64_t now);
  void be_forsaken(std::uint64_t now);
  void recall_report(const Json& end);
  void await_next(bool retry);
  [[nodiscard]] NodeStep own_step() const;
  [[nodiscard]] NodeReport report() const;

  // What the host gives and takes (run_resources.cpp)
  [[nodiscard]] SlotRequest slot_request() const;
  void enqueue(std::uint64_t now);
  void try_admit(std::uint64_t now);
  void leave_queue();
  void leave_host();
  void limit_memory(bool adopt);
  void drop_memory_limit();
  void sample(std::uint64_t now);

  // Limits and requests (run_limits.cpp)
  void read_requests(std::uint64_t now);
  void handle(const ControlRequest& request, std::uint64_t now);
  void signal_ranks(int number) const;
  void check_limits(std::uint64_t now);
  void check_start(std::uint64_t now);
  void check_memory(std::uint64_t now);
  void warn_before_limit(std::uint64_t now);
  void send_warning();
  [[nodiscard]] std::uint64_t warning_time() const;
  void stop_for(format::Cause cause, const std::string& message, std::uint64_t now,
                std::optional<std::chrono::milliseconds> patience = {});
  void stop_others(int rank, std::uint64_t now);
  void end_ranks(const StopPlan& how, std::optional<format::Cause> cause, const std::string& message,
                 std::uint64_t now);
  void watch_control();
  [[nodiscard]] std::uint64_t limit_deadline() const;
  [[nodiscard]] std::uint64_t start_deadline() const;

  // What a batch system gives and takes (run_enclosure.cpp)
  void enter_enclosure();
  [[nodiscard]] bool is_mine(const format::AttemptPaths& attempt);
  void leave_enclosure(std::uint64_t now);
  void suspect_enclosure(std::uint64_t now);
  void depart(const Departure& why, std::uint64_t before, std::uint64_t now);
  void check_enclosure(std::uint64_t now);
  [[nodiscard]] std::uint64_t enclosure_deadline() const;

  Reactor& reactor_;
  format::RunPaths run_;
  format::Plan plan_;
  std::optional<base::FileLock> lock_;
  SupervisionOptions options_;
  Inbox inbox_;
  RetryCount retries_;
  Phase phase_ = Phase::backoff;

  int attempt_ = 0;
  std::optional<Journal> journal_;
  std::unique_ptr<RankSet> ranks_;
  std::unique_ptr<Stopper> stopper_;
  std::unique_ptr<LogWatch> logs_;
  Preparation preparation_;
  MetricSources metrics_;
  Collection collection_;
  ContainerCleanup containers_;
  std::unique_ptr<Admission> admission_;
  std::optional<Ticket> ticket_;
  std::vector<int> gpus_;
  std::string queue_key_;
  int queue_fd_ = -1;
  std::optional<EnvironmentUse> environment_use_;
  std::optional<NodeTree> node_tree_;  ///< of the attempt, where nodes unpack the source themselves
  std::optional<PortReservation> ports_;
  std::optional<MemoryLimit> memory_limit_;
  std::optional<Sampler> sampler_;
  std::optional<format::Cause> stop_cause_;
  std::string stop_message_;
  std::uint64_t stop_since_ = kNever;
  std::uint64_t attempt_since_ = 0;
  std::uint64_t preparing_since_ = kNever;  ///< start_timeout counts from here, not from the queue
  std::uint64_t backoff_until_ = 0;
  std::uint64_t next_inbox_ = 0;
  std::uint64_t next_memory_ = 0;
  std::uint64_t next_admission_ = kNever;
  std::uint64_t next_sample_ = kNever;
  std::uint64_t next_group_look_ = kNever;  ///< at the records of the ranks below mpiexec
  std::uint64_t kill_preparation_at_ = kNever;
  std::uint64_t enclosure_ends_ = kNever;
  bool suspected_ = false;                ///< the enclosure, when a rank of this attempt had failed
  bool asked_to_go_ = false;              ///< by the enclosure: nothing is tried again in here
  std::optional<PssWatch> memory_watch_;  ///< where memory_limit_ is not to be had
  std::optional<Membership> membership_;  ///< of a run on several machines
  std::unique_ptr<GangLead> lead_;        ///< here is node 0
  std::unique_ptr<GangNode> node_;        ///< here is another
  std::optional<Prepared> prepared_;      ///< while gathering
  std::optional<AttemptEnd> ending_;      ///< while closing
  std::optional<NodeVerdict> problem_;    ///< why this node cannot go on
  NodeReport last_report_;                ///< of the attempt that this node has ended
  std::string queue_reason_;
  std::uint64_t patience_until_ = kNever;  ///< for the first word, for the start, for leave
  bool control_watched_ = false;
  bool inbox_dirty_ = false;
  bool moved_on_ = false;  ///< of several machines: the phase has just changed
  bool warned_ = false;
  bool signals_are_old_ = false;          ///< those that node 0 names first were sent by a supervisor before
  std::set<std::string> signals_obeyed_;  ///< requests that node 0 has told of
};

}  // namespace trainctl::host
