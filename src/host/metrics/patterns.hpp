// SPDX-License-Identifier: Apache-2.0
// metrics.patterns of a run configuration: what finds metrics in the lines that a script prints.
//   "epoch {step}: loss {loss}"     text with places: a run of spaces matches any run of spaces, {name} a number
//   "loss=(?P<loss>[0-9.e-]+)"      a PCRE2 expression with named groups
// {step} (or a group "step") is the step of the line's values, and of values in later lines that name no step.
//   "preset:keras"                  what a well-known program prints (presets.hpp)
// {_} is a number that is not wanted. {{ and }} stand for braces. 87.5% read by {accuracy} is 0.875, by
// "{accuracy}%" 87.5.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::host {

inline constexpr std::size_t kMaxPatterns = 100;
inline constexpr std::size_t kMaxPatternBytes = 4096;

struct Preset;

/// What one pattern found: names and the text of their numbers, in the order of the groups.
using PatternMatch = std::vector<std::pair<std::string_view, std::string_view>>;

enum class MatchOutcome { none, found, limit };  ///< limit: given up, the expression backtracks too much on this line

/// One compiled pattern. Compiling is done once; matching does not change it.
class Pattern {
 public:
  ~Pattern();
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  /// Errc::invalid: the message says what is wrong and at which column of the pattern.
  static Result<Pattern> compile(std::string_view text);
  /// The first match in `line`, which needs not be UTF-8. The views in `match` are into the line and into this pattern.
  /// `previous` is the line before it, for presets that need it; their views may be into that.
  MatchOutcome match(std::string_view line, PatternMatch& match, std::string_view previous = {}) const;
  [[nodiscard]] const Preset* preset() const;  ///< null for a pattern that was written out
  [[nodiscard]] const std::string& text() const;

 private:
  struct Impl;
  explicit Pattern(std::unique_ptr<Impl> impl);
  static Result<Pattern> compile_preset(std::string_view text);
  std::unique_ptr<Impl> impl_;
};

using PatternSet = std::vector<Pattern>;

/// All patterns, or the first mistake with `field` metrics.patterns[i].
Result<PatternSet> compile_patterns(std::span<const std::string> patterns);
/// Every mistake, for the validation of a run configuration; empty when all are fine.
Errors check_patterns(std::span<const std::string> patterns);

/// The number a pattern captured: 0.3, -1e-5, nan, inf, 87.5% (0.875). Spaces around it are fine. Empty: no number.
std::optional<double> parse_captured_number(std::string_view text);

}  // namespace trainctl::host
