// SPDX-License-Identifier: Apache-2.0
// What trainctl knows about a framework, as data: configs/estimators/<name>.json, built in, and files of the same form
// in a project's .trainctl/estimators and in the user's estimators folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spec/run_configuration.hpp"
#include "spec/schema.hpp"
#include "trainctl/result.hpp"

namespace trainctl::spec {

namespace fs = std::filesystem;

/// What is installed for a range of the framework's versions. "{version}" in a package stands for the version, with
/// ".*" where less than three numbers are asked for.
struct PresetVersions {
  std::optional<std::string> from;   ///< the first version
  std::optional<std::string> until;  ///< the first version that is not meant any more
  std::optional<std::string> python;
  std::vector<std::string> packages;
  std::vector<std::string> cpu;  ///< more packages without GPUs
  std::vector<std::string> gpu;  ///< and with them
  std::vector<std::string> build_constraints;
  TextMap variables;
  std::vector<std::string> known;  ///< releases there are, for "near versions"
};

/// A way of distributing that the framework can do, and what it needs.
struct PresetDistribution {
  std::string name;
  std::vector<std::string> packages;
  TextMap variables;
};

/// One thing to be true of an estimator.
struct PresetCondition {
  std::string field;                  ///< framework_version, distribution, gpu, nodes or processes_per_node
  std::optional<std::int64_t> above;  ///< the number is greater
  std::vector<std::string> is;        ///< the text is one of these
  std::optional<std::string> from;    ///< the version is this or later
  std::optional<std::string> until;   ///< the version is before this one
};

/// When all conditions hold, `say` is an error (checks) or a note (hints), with `instead` as what to do.
struct PresetRule {
  std::vector<PresetCondition> when;
  std::string say;
  std::optional<std::string> instead;
};

struct PresetTorch {
  std::optional<std::string> cpu;
  std::optional<std::string> gpu;
};

struct EstimatorPreset {
  std::string name;
  std::optional<std::string> title;
  std::optional<std::string> description;
  std::vector<std::string> aliases;
  std::optional<std::string> package;  ///< the package whose version framework_version is
  std::optional<std::string> default_version;
  std::vector<PresetVersions> versions;
  std::vector<PresetDistribution> distributions;
  std::optional<std::string> default_distribution;  ///< for several processes of no said kind; default: the first one
  PresetTorch torch_backend;
  TextMap variables;
  std::vector<std::string> metric_patterns;
  std::vector<PresetRule> checks;
  std::vector<PresetRule> hints;
};

const Table& estimator_preset_table();

struct FoundPreset {
  EstimatorPreset preset = {};
  std::string source = {};  ///< "built in", or the file
};

class Presets {
 public:
  /// The first folder wins over the later ones, all of them over what is built in.
  explicit Presets(std::vector<fs::path> folders = {}) : folders_(std::move(folders)) {}

  /// The names there are, sorted.
  [[nodiscard]] std::vector<std::string> names() const;
  /// By name or alias, whatever the case. Errc::not_found suggests a name and lists them; else every mistake of the
  /// file.
  [[nodiscard]] ResultAll<FoundPreset> load(std::string_view written) const;

 private:
  [[nodiscard]] std::optional<std::string> canonical_name(std::string_view written) const;

  std::vector<fs::path> folders_;
};

/// <project>/.trainctl/estimators in `base` and, within a git work tree, above it; then `estimators` beside the user's
/// configuration.
std::vector<fs::path> preset_folders(const fs::path& base, const std::optional<fs::path>& user_config);

}  // namespace trainctl::spec
