// SPDX-License-Identifier: Apache-2.0
// The parts of lowering, and what they share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spec/complaints.hpp"
#include "spec/distribution_styles.hpp"
#include "spec/estimator.hpp"
#include "spec/estimator_preset.hpp"
#include "spec/lower.hpp"

namespace trainctl::spec {

/// The framework's version: as asked for or by default.
struct ChosenVersion {
  std::string asked;                      ///< what packages are pinned to; empty: there are no versions
  std::string effective;                  ///< for comparing: the newest known release that fits
  const PresetVersions* range = nullptr;  ///< null: nothing is known about it
};

/// What the preset's rules and the environment depend on.
struct Facts {
  ChosenVersion version;
  std::optional<DistributionStyle> style;  ///< empty: one process
  std::int64_t nodes = 1;
  std::int64_t processes_per_node = 1;
  bool gpu = false;
};

/// The run configuration in the making. Where a pointer `from` leads into what was written, "" means the preset.
class LoweredRun {
 public:
  LoweredRun(const Layer& written, const LowerInput& input);

  const Layer& written;
  const LowerInput& input;
  Estimator estimator;
  Complaints complaints;  ///< with the positions of what was written
  Layer out;
  LoweredFrom record;
  std::vector<std::string> notes;

  [[nodiscard]] const EstimatorPreset* preset() const {
    return input.found == nullptr ? nullptr : &input.found->preset;
  }
  /// The framework for messages: "scikit-learn".
  [[nodiscard]] std::string title() const;
  [[nodiscard]] bool wrote(const std::string& pointer) const { return complaints.written(pointer); }
  /// The written value; null when there is none.
  [[nodiscard]] const Json* value(const std::string& pointer) const;
  [[nodiscard]] std::optional<std::int64_t> number(const std::string& pointer) const;
  /// Whether the value comes from a target's defaults, the user's settings or the project's.
  [[nodiscard]] bool from_settings(const std::string& pointer) const;

  void set(const std::string& pointer, Json value, const std::string& from);
  void append(const std::string& pointer, Json value, const std::string& from);
  void remove(const std::string& pointer);

 private:
  Json& place(const std::string& pointer);
  void remember(const std::string& from, const std::string& to);
  [[nodiscard]] Origin origin_of(const std::string& from) const;
};

/// The version, and mistakes about it.
ChosenVersion choose_version(LoweredRun& run);
/// distributed_training, use_gpu and the counts; fills everything of the facts but the version.
void lower_distribution(LoweredRun& run, Facts& facts);
/// Packages, files, container. Takes the version out of the facts where somebody else decides what is installed.
void lower_environment(LoweredRun& run, Facts& facts);

}  // namespace trainctl::spec
