// SPDX-License-Identifier: Apache-2.0
#include "engine/sync.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "archive/contact.hpp"
#include "base/clock.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "engine/mirror_pass.hpp"
#include "engine/supervision.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/plan_target.hpp"
#include "target/cancel.hpp"
#include "target/registry.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

struct Group {
  Json definition;
  std::vector<format::RunPaths> runs;
  std::set<std::string, std::less<>> heard;  ///< the target told of these: it is there, whatever else went wrong
  TargetSync result;
};

/// Runs by their target; only those that somebody launched elsewhere.
std::vector<Group> group(const std::vector<format::RunPaths>& runs) {
  std::map<std::string, Group> groups;
  for (const format::RunPaths& run : runs) {
    const auto plan = format::read_plan(run.plan());
    if (!plan || plan->target.value("type", "local") == "local") continue;
    const auto ref = reference(run);
    if (!ref || ref->handle.empty()) continue;
    Group& one = groups[base::dump_json(plan->target)];
    one.definition = plan->target;
    one.runs.push_back(run);
    one.result.target = format::target_name(*plan);
    one.result.runs.push_back(plan->name);
  }
  std::vector<Group> all;
  all.reserve(groups.size());
  for (auto& [key, one] : groups) all.push_back(std::move(one));
  return all;
}

Result<> copy_group(Group& group, target::Until until, const target::Cancel& cancel) {
  TRY_ASSIGN(const auto target, target::open_target(group.definition, group.runs.front().store()));
  TRY_ASSIGN(auto pass, MirrorPass::open(group.runs));
  group.result.busy = pass->busy();
  for (const format::RunPaths& run : pass->mine()) {
    auto told = repeat_wishes(run, *target, cancel);
    if (!told && told.error().code == Errc::unavailable)
      return told;  // anything else is one run's: it may be gone there
  }
  auto copied = pass->run(*target, until, cancel);
  group.result.bytes = pass->bytes();
  group.result.lines = pass->lines();
  group.result.missing = pass->missing();
  group.heard = pass->heard();
  return copied;
}

/// One target in a thread of its own, with the means to end it.
class Job {
 public:
  Job(Group group, target::Until until, target::Cancel cancel, target::Cancel done)
      : group_(std::move(group)), until_(until), cancel_(std::move(cancel)), done_(std::move(done)), thread_([this] {
          run();
        }) {}
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;
  ~Job() {
    if (thread_.joinable()) thread_.join();
  }

  /// Waits until `end_ns` at most, then calls it off.
  TargetSync finish(std::uint64_t end_ns, std::chrono::milliseconds deadline) {
    const std::uint64_t now = base::mono_ns();
    const bool late = !done_.wait_ms(static_cast<int>(now < end_ns ? (end_ns - now) / 1'000'000U : 0));
    if (late) cancel_.request();
    thread_.join();
    if (late) {
      group_.result.problem =
          Error{.code = Errc::unavailable,
                .message = group_.result.target + " did not give everything within " + base::format_duration(deadline),
                .retryable = true};
    }
    if (group_.result.problem) {
      for (const format::RunPaths& run : group_.runs) {
        (void)(group_.heard.contains(run.id()) ? archive::note_seen(run)
                                               : archive::note_unreachable(run, group_.result.problem->message));
      }
    }
    return std::move(group_.result);
  }

 private:
  void run() {
    if (auto copied = copy_group(group_, until_, cancel_); !copied) group_.result.problem = std::move(copied).error();
    done_.request();
  }

  Group group_;
  target::Until until_;
  target::Cancel cancel_;
  target::Cancel done_;  ///< requested by the thread when it is through
  std::thread thread_;
};

}  // namespace

std::vector<TargetSync> sync(const std::vector<format::RunPaths>& runs, std::chrono::milliseconds deadline,
                             target::Until until) {
  const std::uint64_t end_ns = base::mono_ns() + static_cast<std::uint64_t>(deadline.count()) * 1'000'000U;
  std::vector<std::unique_ptr<Job>> jobs;
  std::vector<TargetSync> results;
  for (Group& one : group(runs)) {
    auto cancel = target::Cancel::create();
    auto done = target::Cancel::create();
    if (cancel && done) {
      jobs.push_back(std::make_unique<Job>(std::move(one), until, std::move(*cancel), std::move(*done)));
    } else {
      one.result.problem = cancel ? std::move(done).error() : std::move(cancel).error();
      results.push_back(std::move(one.result));
    }
  }
  for (const auto& job : jobs) results.push_back(job->finish(end_ns, deadline));
  return results;
}

}  // namespace trainctl::engine
