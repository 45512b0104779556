// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/pattern_process.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/distribution/layout.hpp"
#include "host/metrics/patterns.hpp"
#include "host/metrics/tailer.hpp"
#include "host/supervisor/runner_log.hpp"

namespace trainctl::host {
namespace {

/// The child's whole life.
int tail(const format::Plan& plan, const format::AttemptPaths& attempt, int control) {
  const RunnerLog log(attempt);
  std::vector<std::string> texts = plan.metrics.patterns;
  // The cursor is one for all patterns: what is searched for may not depend on when the file was seen.
  if (plan.metrics.takes("azureml") && texts.size() < kMaxPatterns) texts.emplace_back("preset:azureml");
  auto patterns = compile_patterns(texts);
  if (!patterns) {
    log.say(patterns.error().message);
    return 1;
  }
  PatternTailerOptions options;
  for (const RankPlace& place : layout(plan)) {
    if (place.node == attempt.own_node) options.logs.push_back({attempt.log(place.rank), place.rank});
  }
  options.patterns = std::move(*patterns);
  options.metrics_directory = attempt.metrics();
  options.control_fd = control;
  options.poll_only = base::is_network_file_system(attempt.root);
  options.warn = [&log](std::string_view text) { log.say(text); };
  const auto done = run_pattern_tailer(options);
  if (!done) log.say(done.error().message);
  return done ? 0 : 1;
}

}  // namespace

void PatternProcess::start(const format::Plan& plan, const format::AttemptPaths& attempt) {
  if (child_.busy()) return;
  if (plan.metrics.patterns.empty() && !base::exists(attempt.metrics() / "azureml.printed")) return;
  child_.start("trainctl-metric", [&plan, &attempt](int control) { return tail(plan, attempt, control); });
}

}  // namespace trainctl::host
