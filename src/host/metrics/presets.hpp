// SPDX-License-Identifier: Apache-2.0
// Named patterns: what well-known programs print, whose metric names are not known beforehand. "preset:keras" in
// metrics.patterns.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "host/metrics/patterns.hpp"

namespace trainctl::host {

inline constexpr std::string_view kPresetMark = "preset:";

struct Preset {
  std::string_view name;
  /// Finds names and numbers in `line`; `previous` is the line before it. The views in `match` are into both.
  bool (*find)(std::string_view line, std::string_view previous, PatternMatch& match);
  bool keras_bars = false;  ///< bars are printed again and again: see KerasBars
  bool needs_previous = false;
};

/// By its name without the mark; null when there is none.
const Preset* find_preset(std::string_view name);
std::vector<std::string_view> preset_names();

/// The line after this one may belong to it: it is kept until then.
bool begins_azureml_metric(std::string_view line);

// For those who find:
bool is_name_start(char c);  ///< a letter or an underscore
/// The number at the beginning of `text`, with a percent sign; empty when there is none or a letter follows it.
std::string_view leading_number(std::string_view text);
std::string_view leading_digits(std::string_view text);

}  // namespace trainctl::host
