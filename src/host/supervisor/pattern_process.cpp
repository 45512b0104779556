// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/pattern_process.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>
#include <utility>

#include "base/file.hpp"
#include "host/distribution/layout.hpp"
#include "host/linux/process.hpp"
#include "host/metrics/tailer.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kPatience = 5000 * kMillisecond;

/// The child's whole life.
[[noreturn]] void tail(const format::Plan& plan, const format::AttemptPaths& attempt, int control) {
  const std::array keep = {control};
  close_descriptors_except(keep);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  reset_signals();
  set_process_name("trainctl-metric");
  const auto log = base::open_file(attempt.runner_log(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW);
  const auto say = [&log](std::string_view text) {
    if (log) (void)base::write_all(log->get(), std::string(text) + "\n");
  };
  auto patterns = compile_patterns(plan.metrics.patterns);
  if (!patterns) {
    say(patterns.error().message);
    ::_exit(1);
  }
  PatternTailerOptions options;
  for (const RankPlace& place : layout(plan)) {
    if (place.node == 0) options.logs.push_back({attempt.log(place.rank), place.rank});
  }
  options.patterns = std::move(*patterns);
  options.metrics_directory = attempt.metrics();
  options.control_fd = control;
  options.poll_only = base::is_network_file_system(attempt.root);
  options.warn = say;
  const auto done = run_pattern_tailer(options);
  if (!done) say(done.error().message);
  ::_exit(done ? 0 : 1);
}

}  // namespace

PatternProcess::~PatternProcess() {
  if (busy()) ::kill(child_, SIGKILL);
}

void PatternProcess::start(const format::Plan& plan, const format::AttemptPaths& attempt) {
  if (plan.metrics.patterns.empty() || busy()) return;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
  const base::UniqueFd read_end(ends[0]);
  control_.reset(ends[1]);
  const pid_t pid = ::fork();
  if (pid == 0) tail(plan, attempt, read_end.get());
  if (pid < 0) return;
  child_ = pid;
  kill_at_ = kNever;
  reactor_.on_child(pid, [this](int, std::uint64_t) { child_ = 0; });
}

void PatternProcess::finish(std::uint64_t now) {
  if (!busy() || kill_at_ != kNever) return;
  control_.reset();
  kill_at_ = now + kPatience;
}

void PatternProcess::tick(std::uint64_t now) {
  if (!busy() || now < kill_at_) return;
  ::kill(child_, SIGKILL);
  kill_at_ = now + kPatience;
}

}  // namespace trainctl::host
