// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "base/text.hpp"
#include "spec/complaints.hpp"
#include "spec/run_configuration.hpp"
#include "spec/validate_parts.hpp"

namespace trainctl::spec {
namespace {

constexpr std::array<std::string_view, 18> kCauses = {
    "failed",       "exit",         "signal",     "time_limit", "queue_timeout", "start_timeout",
    "idle_timeout", "memory_limit", "oom_kernel", "disk_full",  "preempted",     "node",
    "environment",  "start",        "lost",       "timed_out",  "exit:",         "signal:"};

constexpr std::array<std::string_view, 20> kSignals = {
    "SIGHUP",  "SIGINT",  "SIGQUIT", "SIGILL",  "SIGTRAP", "SIGABRT", "SIGBUS",  "SIGFPE",  "SIGKILL",  "SIGUSR1",
    "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGCONT", "SIGXCPU", "SIGXFSZ", "SIGWINCH", "SIGPWR"};

bool is_signal(std::string_view name) {
  return std::find(kSignals.begin(), kSignals.end(), name) != kSignals.end();
}

std::string signal_hint(const std::string& name) {
  std::string upper = base::to_upper(name);
  if (!upper.starts_with("SIG")) upper = "SIG" + upper;
  if (is_signal(upper)) return "write \"" + upper + "\"";
  const auto near = base::suggest(upper, kSignals);
  return near ? "did you mean \"" + *near + "\"?" : "such as \"SIGINT\" or \"SIGTERM\"";
}

void check_resources(const Resources& resources, Complaints& out) {
  if (resources.cpus && *resources.cpus <= 0) {
    out.add("/resources/cpus", "resources.cpus", "a run needs some CPU", "leave it out to reserve nothing");
  }
  if (resources.memory && resources.memory->bytes < (1U << 20U)) {
    out.add("/resources/memory", "resources.memory",
            "only " + std::to_string(resources.memory->bytes) + " bytes: too little for any script",
            "write the unit: \"4GiB\"");
  }
}

void check_limits(const RunConfiguration& config, Complaints& out) {
  const Limits& limits = config.limits;
  const auto positive = [&](const char* name, const std::optional<Duration>& value) {
    if (!value || value->count() > 0) return;
    out.add(std::string("/limits/") + name, std::string("limits.") + name, "0 would end the run at once",
            "leave it out for no limit");
  };
  positive("timeout", limits.timeout);
  positive("queue_timeout", limits.queue_timeout);
  positive("start_timeout", limits.start_timeout);
  positive("idle", limits.idle);
  if (limits.idle && limits.timeout && *limits.idle >= *limits.timeout) {
    out.add("/limits/idle", "limits.idle",
            "\"idle\" (" + base::format_duration(*limits.idle) + ") would never be reached before \"timeout\" (" +
                base::format_duration(*limits.timeout) + ")",
            "make it shorter");
  }
  if (config.stop.warn && limits.timeout && *config.stop.warn >= *limits.timeout) {
    out.add("/stop/warn", "stop.warn",
            "the warning (" + base::format_duration(*config.stop.warn) + " before the end) would come before the start",
            "\"timeout\" is " + base::format_duration(*limits.timeout));
  }
}

bool is_retry_word(const std::string& word) {
  if (word.starts_with("exit:")) {
    int code = 0;
    const char* end = word.data() + word.size();
    const auto parsed = std::from_chars(word.data() + 5, end, code);
    return parsed.ec == std::errc() && parsed.ptr == end && code >= 1 && code <= 255;
  }
  if (word.starts_with("signal:")) return is_signal(std::string_view(word).substr(7));
  return std::find(kCauses.begin(), kCauses.end(), word) != kCauses.end();
}

void check_retry(const Retry& retry, Complaints& out) {
  for (std::size_t i = 0; i < retry.on.size(); ++i) {
    const std::string& word = retry.on[i];
    if (is_retry_word(word)) continue;
    const std::string number = std::to_string(i);
    std::string hint = "such as \"failed\", \"preempted\", \"node\", \"exit:137\" or \"signal:SIGKILL\"";
    std::string message = "\"" + word + "\" is nothing a run ends with";
    if (word.starts_with("exit:")) {
      hint = "a code from 1 to 255, like \"exit:137\"";
    } else if (word.starts_with("signal:")) {
      hint = signal_hint(word.substr(7));
    } else if (const auto near = base::suggest(word, kCauses)) {
      message += ", did you mean \"" + *near + "\"?";
      hint.clear();
    }
    out.add("/retry/on/" + number, "retry.on[" + number + "]", message, hint);
  }
  if (retry.max > 0 && retry.on.empty()) {
    out.add("/retry/max", "retry.max", "it does not say after what to try again", "add \"on\": [\"failed\"]");
  }
  if (retry.max == 0 && !retry.on.empty()) {
    out.add("/retry/on", "retry.on", "\"max\" is 0: nothing would be tried again", "add \"max\": 1");
  }
}

/// "{loss}" or "(?P<loss>…)" or "(?<loss>…)".
bool captures_something(std::string_view pattern) {
  if (pattern.starts_with("preset:")) return true;  // the host knows which there are
  if (pattern.find("(?P<") != std::string_view::npos || pattern.find("(?<") != std::string_view::npos) return true;
  const std::size_t open = pattern.find('{');
  return open != std::string_view::npos && pattern.find('}', open) != std::string_view::npos;
}

void check_metrics(const Metrics& metrics, Complaints& out) {
  for (std::size_t i = 0; i < metrics.patterns.size(); ++i) {
    const std::string number = std::to_string(i);
    if (captures_something(metrics.patterns[i])) continue;
    out.add("/metrics/patterns/" + number, "metrics.patterns[" + number + "]", "this pattern names no metric",
            "write {loss} where the number stands, or (?P<loss>…)");
  }
  if (metrics.system.interval < std::chrono::milliseconds(100)) {
    out.add("/metrics/system/interval", "metrics.system.interval", "more often than every 100ms is too often",
            "\"5s\" is the default");
  }
  if (out.written("/metrics/goal") && !metrics.primary) {
    out.add("/metrics/goal", "metrics.goal", "a goal needs a metric", "add \"primary\"");
  }
}

}  // namespace

void check_running(const RunConfiguration& config, Complaints& out) {
  check_resources(config.resources, out);
  check_limits(config, out);
  check_retry(config.retry, out);
  check_metrics(config.metrics, out);
  const auto signal = [&](const char* name, const std::string& value) {
    if (is_signal(value)) return;
    out.add(std::string("/stop/") + name, std::string("stop.") + name, "\"" + value + "\" is not a signal",
            signal_hint(value));
  };
  signal("signal", config.stop.signal);
  signal("warn_signal", config.stop.warn_signal);
}

}  // namespace trainctl::spec
