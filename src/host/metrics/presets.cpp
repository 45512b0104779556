// SPDX-License-Identifier: Apache-2.0
#include "host/metrics/presets.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/text.hpp"
#include "host/metrics/keras_bars.hpp"
#include "host/metrics/patterns.hpp"

namespace trainctl::host {
namespace {

constexpr std::string_view kScalarMetric = "Attempted to log scalar metric ";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name(char c) {
  return is_name_start(c) || is_digit(c) || c == '/' || c == '.' || c == '-' || c == '@';
}

/// {'loss': 0.5, 'learning_rate': '5e-05', 'epoch': 1.0}, as the Trainer of Hugging Face prints it.
bool find_trainer(std::string_view line, std::string_view, PatternMatch& match) {
  line = base::trim(line);
  // A progress bar may stand in front of it.
  const auto begin = line.find("{'");
  if (begin == std::string_view::npos || !line.ends_with('}')) return false;
  std::string_view rest = line.substr(begin + 1);
  while (rest.starts_with('\'')) {
    const auto end = rest.find("': ", 1);
    if (end == std::string_view::npos) break;
    const std::string_view name = rest.substr(1, end - 1);
    rest.remove_prefix(end + 3);
    std::string_view value = rest.substr(0, rest.find_first_of(",}"));
    rest.remove_prefix(std::min(rest.size(), value.size() + 2));
    if (value.size() > 1 && value.front() == '\'' && value.back() == '\'') value = value.substr(1, value.size() - 2);
    const auto number = leading_number(value);
    if (number.size() == value.size() && !number.empty()) match.emplace_back(name, number);
  }
  return !match.empty();
}

/// "[3]\ttrain-logloss:0.5\teval-logloss:0.6" and "[3]\ttraining's auc: 0.9", perhaps with a time in front.
bool find_boosting(std::string_view line, std::string_view, PatternMatch& match) {
  std::string_view round;
  for (auto open = line.find('['); open != std::string_view::npos && round.empty(); open = line.find('[', open + 1)) {
    const auto digits = leading_digits(line.substr(open + 1));
    if (!digits.empty() && line.substr(open + 1 + digits.size()).starts_with("]\t")) round = digits;
  }
  if (round.empty()) return false;
  line.remove_prefix(static_cast<std::size_t>(round.data() - line.data()));
  for (auto tab = line.find('\t'); tab != std::string_view::npos; tab = line.find('\t')) {
    line.remove_prefix(tab + 1);
    const std::string_view piece = line.substr(0, line.find('\t'));
    const auto colon = piece.rfind(':');
    if (colon == std::string_view::npos || colon == 0) continue;
    const auto number = leading_number(base::trim(piece.substr(colon + 1)));
    if (!number.empty()) match.emplace_back(piece.substr(0, colon), number);
  }
  if (match.empty()) return false;
  match.emplace_back("step", round);
  return true;
}

bool is_step_name(std::string_view name) {
  constexpr std::array<std::string_view, 6> kNames = {"step", "epoch", "iter", "iteration", "global_step", "batch"};
  const std::string word = base::to_lower(name);
  return std::find(kNames.begin(), kNames.end(), word) != kNames.end();
}

/// The value behind a name that ends at `at`: "= 3", ": 3", "=3"; for names of steps also " 3". `at` moves behind it.
std::string_view value_behind(std::string_view line, std::size_t& at, bool step) {
  std::size_t next = at;
  while (next < line.size() && line[next] == ' ') ++next;
  const bool sign = next < line.size() && (line[next] == ':' || line[next] == '=');
  if (sign) ++next;
  if (!sign && !step) return {};
  while (next < line.size() && line[next] == ' ') ++next;
  if (step && next < line.size() && line[next] == '[') ++next;  // Epoch [3/10]
  const auto number = leading_number(line.substr(next));
  if (!number.empty()) at = next + number.size();
  return number;
}

/// Every "name: number" and "name=number" of a line; step, epoch, iteration … give the step.
bool find_pairs(std::string_view line, std::string_view, PatternMatch& match) {
  std::string_view step;
  for (std::size_t at = 0; at < line.size();) {
    if (!is_name(line[at])) {
      ++at;
      continue;
    }
    const std::size_t begin = at;
    while (at < line.size() && is_name(line[at])) ++at;
    if (!is_name_start(line[begin])) continue;  // a number, or 3x
    const std::string_view name = line.substr(begin, at - begin);
    const bool names_step = is_step_name(name);
    const auto number = value_behind(line, at, names_step);
    if (number.empty()) continue;
    if (names_step && step.empty())
      step = number;
    else if (!names_step)
      match.emplace_back(name, number);
  }
  if (!step.empty()) match.emplace_back("step", step);
  return !match.empty();
}

/// What azureml-core prints outside of Azure: the name on one line, the value on the next.
bool find_azureml(std::string_view line, std::string_view previous, PatternMatch& match) {
  if (!begins_azureml_metric(previous)) return false;
  previous = base::trim(previous);
  const auto number = leading_number(base::trim(line));
  if (number.empty() || number.size() != base::trim(line).size()) return false;
  match.emplace_back(previous.substr(kScalarMetric.size(), previous.size() - kScalarMetric.size() - 1), number);
  return true;
}

constexpr std::array kPresets = {
    Preset{"keras", &find_keras, true}, Preset{"huggingface", &find_trainer},
    Preset{"xgboost", &find_boosting},  Preset{"lightgbm", &find_boosting},
    Preset{"key-value", &find_pairs},   Preset{"azureml", &find_azureml, false, true},
};

}  // namespace

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

std::string_view leading_number(std::string_view text) {
  double value = 0;
  const bool plus = text.starts_with('+');
  const char* const begin = text.data() + (plus ? 1 : 0);
  const auto [end, error] = std::from_chars(begin, text.data() + text.size(), value);
  if (error == std::errc::invalid_argument) return {};
  auto size = static_cast<std::size_t>(end - text.data());
  if (size < text.size() && text[size] == '%') ++size;
  if (size < text.size() && (is_name_start(text[size]) || text[size] == ':')) return {};  // 3e, 12:30
  return text.substr(0, size);
}

std::string_view leading_digits(std::string_view text) {
  const auto end = std::find_if_not(text.begin(), text.end(), is_digit);
  return text.substr(0, static_cast<std::size_t>(end - text.begin()));
}

const Preset* find_preset(std::string_view name) {
  const auto found =
      std::find_if(kPresets.begin(), kPresets.end(), [name](const auto& preset) { return preset.name == name; });
  return found == kPresets.end() ? nullptr : &*found;
}

std::vector<std::string_view> preset_names() {
  std::vector<std::string_view> names;
  names.reserve(kPresets.size());
  for (const Preset& preset : kPresets) names.push_back(preset.name);
  return names;
}

bool begins_azureml_metric(std::string_view line) {
  line = base::trim(line);
  return line.starts_with(kScalarMetric) && line.ends_with(':') && line.size() > kScalarMetric.size() + 1;
}

}  // namespace trainctl::host
