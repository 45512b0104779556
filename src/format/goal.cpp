// SPDX-License-Identifier: Apache-2.0
#include "format/goal.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <string_view>

#include "base/text.hpp"

namespace trainctl::format {
namespace {

bool contains_any(std::string_view text, std::span<const std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [text](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

}  // namespace

std::string_view guess_goal(std::string_view name) {
  static constexpr std::array<std::string_view, 8> kLow = {"loss", "error",      "mse",     "mae",
                                                           "rmse", "perplexity", "logloss", "wer"};
  static constexpr std::array<std::string_view, 8> kHigh = {"acc",       "auc",    "f1", "score",
                                                            "precision", "recall", "r2", "bleu"};
  const std::string word = base::to_lower(name);
  if (contains_any(word, kLow)) return "minimize";
  if (contains_any(word, kHigh)) return "maximize";
  return {};
}

std::string_view goal_of(std::string_view name, std::string_view primary, std::string_view goal) {
  return name == primary && !goal.empty() ? goal : guess_goal(name);
}

}  // namespace trainctl::format
