// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/metric_files_process.hpp"

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/metrics/file_finder.hpp"
#include "host/metrics/file_tailer.hpp"
#include "host/supervisor/node_tree.hpp"
#include "host/supervisor/reactor.hpp"
#include "host/supervisor/runner_log.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kDelay = 1000 * kMillisecond;
constexpr int kQuickLook = 2000;  ///< entries of folders: some milliseconds at most
constexpr int kVeryQuickLook = 300;
constexpr std::uint64_t kVeryShort = 100 * kMillisecond;  ///< no training is done in that time

/// When rank 0 started. The file system's clock runs up to a tick (10 ms) behind ours and never ahead: what was
/// unpacked just before is surely older. What a rank wrote in its first tick and never again is not taken.
base::WallTime start_time(const format::AttemptPaths& attempt) {
  const auto lines = format::read_lines(attempt.rank(0, 0));
  if (!lines || lines->empty()) return {};
  const auto found = lines->front().find("t");
  if (found == lines->front().end() || !found->is_string()) return {};
  const auto time = base::parse_utc(found->get_ref<const std::string&>());
  return time.value_or(base::WallTime{});
}

}  // namespace

void MetricFilesProcess::start(const format::Plan& plan, const format::AttemptPaths& attempt, std::uint64_t now) {
  attempt_ = attempt;
  roots_.clear();
  roots_.push_back({.path = source_root(plan, attempt), .name = ""});
  if (roots_.front().path != attempt.work()) roots_.push_back({.path = attempt.outputs(), .name = "outputs/"});
  wanted_ = {.tensorboard = plan.metrics.takes("tensorboard"),
             .chainer = plan.metrics.takes("chainer"),
             .lightning = plan.metrics.takes("lightning")};
  started_ = now;
  start_at_ = wanted_.any() ? now + kDelay : kNever;
}

void MetricFilesProcess::launch() {
  start_at_ = kNever;
  child_.start("trainctl-metric", [this](int control) {
    const RunnerLog log(*attempt_);
    FileTailerOptions options;
    options.roots = roots_;
    options.wanted = wanted_;
    options.since = start_time(*attempt_);
    options.metrics_directory = attempt_->metrics();
    options.control_fd = control;
    options.warn = [&log](std::string_view text) { log.say(text); };
    const auto done = run_file_tailer(options);
    return done ? 0 : 1;
  });
}

void MetricFilesProcess::finish(std::uint64_t now) {
  if (!busy() && start_at_ != kNever) {
    start_at_ = kNever;
    const bool very_short = now - started_ < kVeryShort;
    const auto since = base::wall_now() - std::chrono::nanoseconds(now - started_) - std::chrono::seconds(1);
    const QuickLook look = look_for_metric_files(roots_, std::chrono::floor<std::chrono::microseconds>(since), wanted_,
                                                 very_short ? kVeryQuickLook : kQuickLook);
    if (look == QuickLook::found || (look == QuickLook::unknown && !very_short)) launch();
  }
  child_.finish(now);
}

void MetricFilesProcess::tick(std::uint64_t now) {
  if (!busy() && now >= start_at_) launch();
  child_.tick(now);
}

}  // namespace trainctl::host
