// SPDX-License-Identifier: Apache-2.0
#include "host/metrics/keras_bars.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "host/metrics/patterns.hpp"
#include "host/metrics/presets.hpp"

namespace trainctl::host {
namespace {

constexpr std::string_view kEpoch = "Epoch ";

/// "60/60" at the beginning of a line; `of` is empty when the number of batches is not known ("7/Unknown").
struct Progress {
  std::string_view done;
  std::string_view of;
  [[nodiscard]] bool whole() const { return done == of; }
};

/// Empty when the line is no bar.
Progress progress_of(std::string_view line) {
  const std::string_view done = leading_digits(line);
  if (done.empty() || !line.substr(done.size()).starts_with('/')) return {};
  return {done, leading_digits(line.substr(done.size() + 1))};
}

/// Of verbose=2: no bar stands behind the batches, so it is not printed again.
bool is_single_line(std::string_view line, const Progress& progress) {
  return line.substr(progress.done.size() + 1 + progress.of.size()).starts_with(" - ");
}

}  // namespace

bool find_keras(std::string_view line, std::string_view, PatternMatch& match) {
  line = base::trim(line);
  if (line.starts_with(kEpoch)) {
    const auto number = leading_digits(line.substr(kEpoch.size()));
    const std::string_view rest = line.substr(kEpoch.size() + number.size());
    if (number.empty() || !rest.starts_with('/')) return false;
    match.emplace_back("step", number);
    return true;
  }
  const Progress progress = progress_of(line);
  if (progress.done.empty()) return false;
  if (!progress.whole()) return true;
  for (auto at = line.find(" - "); at != std::string_view::npos; at = line.find(" - ", at + 3)) {
    const std::string_view piece = line.substr(at + 3, line.find(" - ", at + 3) - at - 3);
    const auto colon = piece.find(": ");
    if (colon == std::string_view::npos || colon == 0 || !is_name_start(piece.front())) continue;
    const auto number = leading_number(base::trim(piece.substr(colon + 2)));
    if (!number.empty()) match.emplace_back(piece.substr(0, colon), number);
  }
  return true;
}

bool KerasBars::begins_epoch(std::string_view line, std::string_view batches, const PatternMatch& match) const {
  if (seen_.empty()) return true;
  if (batches != batches_)  // evaluate() prints no val_
    return std::any_of(match.begin(), match.end(), [](const auto& value) { return value.first.starts_with("val_"); });
  if (began_ || is_single_line(line, {batches, batches})) return true;
  // An epoch of one batch has no bar that is not whole: its repeat says the same again.
  return batches == "1" && std::any_of(match.begin(), match.end(), [&](const auto& value) {
           const auto before = seen_.find(value.first);
           return before != seen_.end() && before->second != value.second;
         });
}

void KerasBars::drop_repeats(std::string_view line, PatternMatch& match) {
  line = base::trim(line);
  const Progress progress = progress_of(line);
  if (progress.done.empty()) {  // Epoch n/m
    *this = {};
    return;
  }
  if (!progress.whole()) {
    began_ = began_ || progress.of.empty() || progress.of == batches_;
    return;
  }
  if (!match.empty() && begins_epoch(line, progress.of, match)) {
    seen_.clear();
    batches_ = progress.of;
  }
  began_ = false;
  std::erase_if(match, [&](const auto& value) { return !seen_.emplace(value.first, value.second).second; });
}

}  // namespace trainctl::host
