// SPDX-License-Identifier: Apache-2.0
#include "host/mlflow/search.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/text.hpp"
#include "host/metrics/patterns.hpp"
#include "host/mlflow/tracking.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

/// Words, quoted texts (without their quotes) and comparators.
class Words {
 public:
  explicit Words(std::string_view text) : rest_(text) {}

  std::optional<std::string> next() {
    rest_ = base::trim(rest_);
    if (rest_.empty()) return std::nullopt;
    const char first = rest_.front();
    if (first == '\'' || first == '"' || first == '`') return quoted(first);
    if (is_sign(first)) return take(std::min(rest_.find_first_not_of("=!<>"), rest_.size()));
    const auto end = std::find_if(rest_.begin(), rest_.end(), [](char c) {
      return c == ' ' || c == '\t' || c == '\n' || c == '\'' || c == '"' || c == '`' || is_sign(c);
    });
    return take(static_cast<std::size_t>(end - rest_.begin()));
  }

 private:
  static bool is_sign(char c) { return c == '=' || c == '!' || c == '<' || c == '>'; }
  std::string take(std::size_t size) {
    std::string word(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return word;
  }
  std::optional<std::string> quoted(char quote) {
    const auto end = rest_.find(quote, 1);
    if (end == std::string_view::npos) return std::nullopt;
    std::string word(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return word;
  }
  std::string_view rest_;
};

std::string kind_of(std::string_view word) {
  if (word == "metrics" || word == "metric") return "metric";
  if (word == "params" || word == "param" || word == "parameters" || word == "parameter") return "param";
  if (word == "tags" || word == "tag") return "tag";
  return "attribute";
}

template <class T>
bool compare(const T& a, std::string_view comparator, const T& b) {
  if (comparator == "=" || comparator == "==") return a == b;
  if (comparator == "!=") return a != b;
  if (comparator == "<") return a < b;
  if (comparator == "<=") return a <= b;
  if (comparator == ">") return a > b;
  return a >= b;
}

bool is_comparator(std::string_view word) {
  constexpr std::string_view kAll[] = {"=", "==", "!=", "<", "<=", ">", ">="};
  return std::find(std::begin(kAll), std::end(kAll), word) != std::end(kAll);
}

}  // namespace

Result<RunFilter> RunFilter::parse(std::string_view text) {
  RunFilter filter;
  Words words(text);
  for (auto word = words.next(); word; word = words.next()) {
    if (base::to_lower(*word) == "and") continue;
    Comparison comparison;
    const auto dot = word->find('.');
    comparison.kind = kind_of(std::string_view(*word).substr(0, dot));
    comparison.key = dot == std::string::npos ? *word : word->substr(dot + 1);
    if (dot != std::string::npos && comparison.key.empty()) comparison.key = words.next().value_or("");
    comparison.comparator = words.next().value_or("");
    const auto value = words.next();
    if (!is_comparator(comparison.comparator) || !value || comparison.key.empty())
      return fail(Errc::invalid,
                  "Invalid filter: only comparisons like metrics.loss < 0.5 joined by \"and\" are understood");
    comparison.value = *value;
    filter.comparisons_.push_back(std::move(comparison));
  }
  return filter;
}

bool RunFilter::holds(const Comparison& comparison, const TrackedRun& run) {
  const std::string& key = comparison.key;
  if (comparison.kind == "metric") {
    const auto found = run.metrics.find(key);
    const auto wanted = parse_captured_number(comparison.value);
    return found != run.metrics.end() && wanted && compare(found->second.value, comparison.comparator, *wanted);
  }
  if (comparison.kind == "attribute") {
    std::string value = run.id;
    if (key == "status") value = run.status;
    if (key == "run_name" || key == "Run name") value = run.name;
    return compare(value, comparison.comparator, comparison.value);
  }
  const auto& values = comparison.kind == "param" ? run.params : run.tags;
  const auto found = values.find(key);
  return found != values.end() && compare(found->second, comparison.comparator, comparison.value);
}

bool RunFilter::matches(const TrackedRun& run) const {
  return std::all_of(comparisons_.begin(), comparisons_.end(),
                     [&run](const Comparison& comparison) { return holds(comparison, run); });
}

}  // namespace trainctl::host
