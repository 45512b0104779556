// SPDX-License-Identifier: Apache-2.0
#include "host/tensorboard/naming.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"

namespace trainctl::host {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_one_of(const auto& word, auto... words) {
  return ((word == words) || ...);
}

/// "20261123-120000", "2026-11-23_12-00-00", "1795400881.5": four digits or more in a row, and nothing but digits and
/// separators around; or as PyTorch writes it, "Nov23_12-00-00_host".
bool is_time_stamp(std::string_view name) {
  const bool separators = std::all_of(name.begin(), name.end(), [](char c) {
    return is_digit(c) || is_one_of(c, '-', '_', '.', ':', 'T', 't', 'Z', 'z', ' ');
  });
  if (separators && std::count_if(name.begin(), name.end(), is_digit) >= 8) return true;
  constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  if (name.size() < 14 || std::find(kMonths.begin(), kMonths.end(), name.substr(0, 3)) == kMonths.end()) return false;
  return is_digit(name[3]) && is_digit(name[4]) && name[5] == '_' && is_digit(name[6]) && name[8] == '-' &&
         name[11] == '-';
}

bool is_version(std::string_view name) {
  constexpr std::string_view kWord = "version_";
  return name.starts_with(kWord) && name.size() > kWord.size() &&
         std::all_of(name.begin() + kWord.size(), name.end(), is_digit);
}

bool is_general(std::string_view name) {
  const std::string word = base::to_lower(name);
  return is_one_of(word, "outputs", "logs", "log", "logdir", "log_dir", "runs", "run", "tb", "tensorboard", "tb_logs",
                   "tensorboard_logs", "lightning_logs", "summaries", "summary", "events", "fit") ||
         is_version(word) || is_time_stamp(name);
}

bool is_part_of_data(std::string_view name) {
  const std::string word = base::to_lower(name);
  return is_one_of(word, "train", "training", "val", "valid", "validation", "eval", "evaluation", "test", "testing",
                   "dev") ||
         word.starts_with("eval_") || word.starts_with("test_");
}

}  // namespace

std::string tag_prefix(std::string_view folder) {
  std::vector<std::string> names = base::split(folder, '/');
  std::erase_if(names, [](const std::string& name) { return name.empty() || name == "."; });
  const auto general = std::find_if(names.rbegin(), names.rend(), [](const auto& name) { return is_general(name); });
  if (general != names.rend())
    names.erase(names.begin(), general.base());
  else if (!names.empty() && !is_part_of_data(names.front()))
    names.erase(names.begin());
  return base::join(names, "/");
}

}  // namespace trainctl::host
