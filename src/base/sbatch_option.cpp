// SPDX-License-Identifier: Apache-2.0
#include "base/sbatch_option.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace trainctl::base {
namespace {

struct Ours {
  std::string_view name;
  char letter;  ///< 0 = it has no short form
  std::string_view why;
};

constexpr std::string_view kOneJob = "a run is one job: start several runs";
constexpr std::string_view kOwnLog = "the log of a run is trainctl's: trainctl logs RUN";
constexpr std::string_view kOwnCommand = "the job's script is trainctl's: \"command\" of the run says what runs";
constexpr std::string_view kFound = "trainctl finds the job by it";
constexpr std::string_view kAnswer = "trainctl reads what sbatch answers";
constexpr std::string_view kVariables = "\"environment_variables\" of the run sets variables";
constexpr std::string_view kFolder = "the job begins in the run's folder: \"working_directory\" of the run";
constexpr std::string_view kCluster = "the job has to be known to the cluster of the submit host";

constexpr std::array kOurs = {
    Ours{"--array", 'a', kOneJob},      Ours{"--wrap", '\0', kOwnCommand},       Ours{"--output", 'o', kOwnLog},
    Ours{"--error", 'e', kOwnLog},      Ours{"--open-mode", '\0', kOwnLog},      Ours{"--comment", '\0', kFound},
    Ours{"--wait", 'W', kAnswer},       Ours{"--parsable", '\0', kAnswer},       Ours{"--test-only", '\0', kAnswer},
    Ours{"--export", '\0', kVariables}, Ours{"--export-file", '\0', kVariables}, Ours{"--chdir", 'D', kFolder},
    Ours{"--input", 'i', kOwnCommand},  Ours{"--clusters", 'M', kCluster},       Ours{"--help", 'h', kAnswer},
    Ours{"--usage", '\0', kAnswer},     Ours{"--version", 'V', kAnswer},
};

bool is(const Ours& ours, std::string_view option) {
  if (!option.starts_with("--")) return ours.letter != '\0' && option[1] == ours.letter;
  const std::string_view name = option.substr(0, option.find('='));
  return name.size() > 2 && ours.name.starts_with(name);
}

}  // namespace

std::optional<SbatchRefusal> refuse_sbatch_option(std::string_view option) {
  const bool control = std::any_of(option.begin(), option.end(), [](char c) { return c >= 0 && c < ' '; });
  if (option.size() < 2 || !option.starts_with('-') || option == "--" || control)
    return SbatchRefusal{"\"" + std::string(option) + "\" is no option of sbatch",
                         "one option a text: \"--mail-type=END\""};
  const auto* found = std::find_if(kOurs.begin(), kOurs.end(), [&](const Ours& ours) { return is(ours, option); });
  if (found == kOurs.end()) return std::nullopt;
  return SbatchRefusal{std::string(option.substr(0, option.find('='))) + " is set by trainctl itself",
                       std::string(found->why)};
}

}  // namespace trainctl::base
