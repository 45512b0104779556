// SPDX-License-Identifier: Apache-2.0
#include "cli/status_line.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "base/text.hpp"
#include "cli/output.hpp"
#include "cli/run_metrics.hpp"
#include "cli/time_text.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"

namespace trainctl::cli {
namespace {

constexpr std::uint64_t kQuietNs = 500'000'000;  // progress is for what takes over half a second
constexpr std::size_t kMostValues = 4;

}  // namespace

StatusLine::StatusLine(Context& context, const format::RunPaths& run) : context_(context), run_(run) {
  const auto plan = format::read_plan(run.plan());
  name_ = plan ? plan->name : run.id();
  if (plan) created_ = base::parse_utc(plan->created);
  enabled_ = context.err.is_terminal() && context.out.is_terminal() && !context.json && !context.quiet;
  began_ns_ = base::mono_ns();
}

void StatusLine::draw() {
  if (!enabled_ || line_open_ || format::is_terminal(state_.state)) return;
  const std::uint64_t now = base::mono_ns();
  if (now - began_ns_ < kQuietNs) return;
  if (!reader_ || reader_attempt_ != state_.attempt) {
    reader_.emplace(run_.attempt(std::max(state_.attempt, 1)));
    reader_attempt_ = state_.attempt;
  }
  reader_->read_growth();
  std::string text = name_ + " " + std::string(format::to_string(state_.state));
  const auto since = base::parse_utc(state_.started);
  if (since) text += " " + running_text(created_, *since, base::wall_now());
  if (!state_.message.empty() && state_.state != format::State::running) text += ": " + printable(state_.message);
  if (!trouble_.empty()) text += " · " + trouble_;
  // The first by name; there may be thousands, and this is drawn often.
  std::map<std::string_view, double> first;
  for (const auto& [name, value] : reader_->all().metrics) {
    if (name.starts_with("system/")) continue;
    first.emplace(name, value.last);
    if (first.size() > kMostValues) first.erase(std::prev(first.end()));
  }
  std::string_view gap = " · ";
  for (const auto& [name, value] : first) {
    text += std::string(std::exchange(gap, "  ")) + printable(name) + " " + base::format_number(value);
  }
  const auto width = static_cast<std::size_t>(std::max(context_.err.width() - 1, 10));
  context_.err.write("\r\x1b[K" + context_.err.paint(Style::dim, fit(text, width)));
  context_.err.flush();
  drawn_ = true;
}

void StatusLine::clear() {
  if (!drawn_) return;
  context_.err.write("\r\x1b[K");
  context_.err.flush();
  drawn_ = false;
}

void StatusLine::finish_line() {
  if (!line_open_) return;
  line_open_ = false;
  context_.out.line("");
  context_.out.flush();
}

}  // namespace trainctl::cli
