// SPDX-License-Identifier: Apache-2.0
#include "host/metrics/scanner.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/text.hpp"
#include "format/metric.hpp"
#include "host/metrics/patterns.hpp"
#include "host/metrics/presets.hpp"

namespace trainctl::host {
namespace {

constexpr int kGiveUpAfter = 20;  ///< lines on which a pattern ran into its limits

std::optional<std::int64_t> to_step(std::optional<double> number) {
  if (!number || !(std::fabs(*number) < 9e18)) return std::nullopt;
  return static_cast<std::int64_t>(std::floor(*number));
}

constexpr std::string_view kCsiParameters = " !\"#$%&'()*+,-./0123456789:;<=>?";
constexpr std::string_view kStringStarts = "]PX^_";  // OSC, DCS, SOS, PM, APC: text until BEL or ESC backslash

/// The offset behind the character at `at`; the end of the line when there is none.
std::size_t behind(std::string_view line, std::size_t at) {
  return at < line.size() ? at + 1 : line.size();
}

/// The offset behind the escape sequence whose ESC stands at `at`.
std::size_t skip_escape(std::string_view line, std::size_t at) {
  if (at + 1 >= line.size()) return line.size();
  const char kind = line[at + 1];
  at += 2;
  if (kind == '[') return behind(line, line.find_first_not_of(kCsiParameters, at));  // up to the final character
  if (kStringStarts.find(kind) != std::string_view::npos) {
    const std::size_t end = line.find_first_of("\a\x1b", at);
    const bool by_escape = end < line.size() && line[end] == '\x1b';
    return behind(line, by_escape ? end + 1 : end);
  }
  if (kind >= 0x20 && kind < 0x30) return behind(line, at);  // ESC ( B
  return at;
}

/// LightGBM's "training's auc" is training/auc.
std::string preset_metric_name(std::string_view name) {
  std::string plain(base::trim(name));
  if (const auto at = plain.find("'s "); at != std::string::npos) plain.replace(at, 3, "/");
  return plain;
}

std::size_t find_line_end(std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size(); ++i)
    if (bytes[i] <= '\r' && (bytes[i] == '\n' || bytes[i] == '\r' || bytes[i] == '\b')) return i;
  return std::string_view::npos;
}

}  // namespace

void strip_escapes(std::string_view line, std::string& out) {
  out.clear();
  for (std::size_t at = 0; at < line.size();) {
    if (line[at] == '\x1b') {
      at = skip_escape(line, at);
      continue;
    }
    const std::size_t next = std::min(line.find('\x1b', at), line.size());
    out.append(line.substr(at, next - at));
    at = next;
  }
}

PatternScanner::PatternScanner(const PatternSet& patterns, int rank)
    : patterns_(patterns), rank_(rank), limits_hit_(patterns.size(), 0) {
  keeps_previous_ = std::any_of(patterns.begin(), patterns.end(), [](const Pattern& pattern) {
    return pattern.preset() != nullptr && pattern.preset()->needs_previous;
  });
}

void PatternScanner::resume(std::uint64_t consumed, std::optional<std::int64_t> step) {
  consumed_ = consumed;
  step_ = step;
  pending_ = 0;
  line_.clear();
  previous_.clear();
  bars_ = {};
  too_long_ = false;
}

void PatternScanner::feed(std::string_view bytes, base::WallTime now, std::vector<format::MetricPoint>& points) {
  while (!bytes.empty()) {
    const std::size_t end = find_line_end(bytes);
    const std::string_view part = bytes.substr(0, end);
    pending_ += part.size();
    if (end == std::string_view::npos) {
      add_to_line(part);
      return;
    }
    pending_ += 1;
    if (line_.empty() && !too_long_ && part.size() <= kMaxScannedLine) {
      scan_line(part, now, points);  // the common case: no copy
    } else {
      add_to_line(part);
      end_line(now, points);
    }
    if (previous_.empty()) consumed_ += std::exchange(pending_, 0);
    bytes.remove_prefix(end + 1);
  }
}

void PatternScanner::finish(base::WallTime now, std::vector<format::MetricPoint>& points) {
  end_line(now, points);
  consumed_ += std::exchange(pending_, 0);
}

void PatternScanner::add_to_line(std::string_view part) {
  if (too_long_) return;
  if (line_.size() + part.size() > kMaxScannedLine) {
    too_long_ = true;
    line_.clear();
    if (!std::exchange(said_too_long_, true))
      warnings_.push_back("lines longer than 64 KiB are not searched for metrics (metrics.patterns)");
    return;
  }
  line_.append(part);
}

void PatternScanner::end_line(base::WallTime now, std::vector<format::MetricPoint>& points) {
  if (!too_long_) scan_line(line_, now, points);
  too_long_ = false;
  line_.clear();
}

void PatternScanner::count_limit(std::size_t pattern) {
  if (++limits_hit_[pattern] == 1)
    warnings_.push_back("the pattern \"" + patterns_[pattern].text() +
                        "\" takes too long on some lines, which are skipped");
  if (limits_hit_[pattern] == kGiveUpAfter)
    warnings_.push_back("the pattern \"" + patterns_[pattern].text() +
                        "\" took too long on 20 lines and is not used any more");
}

void PatternScanner::scan_line(std::string_view line, base::WallTime now, std::vector<format::MetricPoint>& points) {
  if (line.empty()) return;
  if (line.find('\x1b') != std::string_view::npos) {
    strip_escapes(line, clean_);
    line = clean_;
  }
  const std::size_t first = points.size();
  for (std::size_t i = 0; i < patterns_.size(); ++i) {
    if (limits_hit_[i] >= kGiveUpAfter) continue;
    const MatchOutcome outcome = patterns_[i].match(line, match_, previous_);
    if (outcome == MatchOutcome::limit) count_limit(i);
    if (outcome != MatchOutcome::found) continue;
    const Preset* const preset = patterns_[i].preset();
    if (preset != nullptr && preset->keras_bars) bars_.drop_repeats(line, match_);
    add_points(preset, now, points);
  }
  if (keeps_previous_) previous_ = begins_azureml_metric(line) ? std::string(line) : std::string();
  // Whichever pattern found the step of this line: values without a step of their own get it.
  for (std::size_t i = first; i < points.size(); ++i)
    if (!points[i].step) points[i].step = step_;
}

void PatternScanner::add_points(const Preset* preset, base::WallTime now, std::vector<format::MetricPoint>& points) {
  std::optional<std::int64_t> own_step;
  for (const auto& [name, text] : match_)
    if (name == "step") own_step = to_step(parse_captured_number(text));
  if (own_step) step_ = own_step;
  for (const auto& [name, text] : match_) {
    if (name == "step") continue;
    const auto value = parse_captured_number(text);
    if (!value) continue;
    format::MetricPoint& point = points.emplace_back();
    point.t = now;
    point.step = own_step;
    point.name = preset == nullptr ? std::string(name) : preset_metric_name(name);
    point.value = *value;
    point.rank = rank_;
    point.source = "pattern";
  }
}

}  // namespace trainctl::host
