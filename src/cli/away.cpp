// SPDX-License-Identifier: Apache-2.0
#include "cli/away.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "archive/contact.hpp"
#include "base/clock.hpp"
#include "base/text.hpp"
#include "cli/output.hpp"
#include "cli/run_metrics.hpp"
#include "cli/time_text.hpp"
#include "engine/sync.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/plan_target.hpp"
#include "format/state.hpp"

namespace trainctl::cli {
namespace {

constexpr auto kAway = std::chrono::minutes(1);
constexpr std::chrono::milliseconds kPatience{5000};
constexpr std::size_t kMostValues = 3;

std::map<std::string, double> newest_values(const format::RunPaths& run, int attempt) {
  std::map<std::string, double> values;
  if (attempt == 0) return values;
  const MetricReader reader = run_metrics(run, attempt);
  for (const auto& [name, value] : reader.metrics()) {
    if (!std::string_view(name).starts_with("system/")) values.emplace(name, value.last);
  }
  return values;
}

/// "accuracy 0.91 → 0.947" for the first few that changed.
std::string changes(const Context& context, const std::map<std::string, double>& before,
                    const std::map<std::string, double>& after) {
  std::string text;
  std::size_t told = 0;
  for (const auto& [name, value] : after) {
    const auto old = before.find(name);
    if (old != before.end() && old->second == value) continue;
    if (told++ == kMostValues) break;
    text += ", " + printable(name) + " ";
    if (old != before.end()) text += base::format_number(old->second) + (context.err.utf8() ? " → " : " -> ");
    text += base::format_number(value);
  }
  return text;
}

}  // namespace

void tell_what_was_missed(const Context& context, const format::RunPaths& run) {
  const auto before = format::fold_run(run);
  const archive::Contact contact = archive::read_contact(run);
  if (context.json || !before || format::is_terminal(before->state) || !contact.seen) return;
  const base::WallTime now = base::wall_now();
  if (now - *contact.seen < kAway) return;
  const auto plan = format::read_plan(run.plan());
  const auto values = newest_values(run, before->attempt);
  const auto synced = engine::sync({run}, kPatience);
  if (!plan || synced.empty() || synced.front().problem || synced.front().busy > 0) return;
  const auto after = format::fold_run(run);
  if (!after) return;
  const std::uint64_t lines = synced.front().lines;
  const std::string state(format::to_string(after->state));
  const bool same = after->state == before->state;
  context.note(context.err.paint(
      Style::dim, plan->name + " on " + printable(format::target_name(*plan)) + " · away " +
                      span_text(*contact.seen, now) + ": " + base::format_count(lines) +
                      (lines == 1 ? " line" : " lines") + changes(context, values, newest_values(run, after->attempt)) +
                      ", " + (same ? "still " : "") + state + " · bytes verified" + (context.err.utf8() ? " ✓" : "")));
}

}  // namespace trainctl::cli
