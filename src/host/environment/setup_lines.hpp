// SPDX-License-Identifier: Apache-2.0
// Setup lines (`module load cuda/12`, `source /opt/x/env.sh`): run once by a login bash; what they change in the
// environment is kept and applied to every run.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "host/environment/environment.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// A change of one variable. For lists such as PATH the old value inside the new one is kept open: prefix + now +
/// suffix.
struct VariableChange {
  enum class How { set, unset, around };
  std::string name;
  How how = How::set;
  std::string value, suffix;  // around: prefix and suffix
  friend bool operator==(const VariableChange&, const VariableChange&) = default;
};

/// Differences of two `env -0` outputs, sorted by name; what a shell itself changes (_, SHLVL, PWD …) is left out.
std::vector<VariableChange> diff_environments(std::string_view before, std::string_view after);

/// The new value given the current one; empty when it is to be unset.
std::optional<std::string> apply_change(const VariableChange& change, const std::optional<std::string>& current);

Json changes_to_json(const std::vector<VariableChange>& changes);
Result<std::vector<VariableChange>> changes_from_json(const Json& json);

/// The cached changes of these lines, or runs them (and caches). Errc::cannot_start shows the failing line's output.
Result<std::vector<VariableChange>> setup_changes(const std::vector<std::string>& lines, const EnsureOptions& options);
std::optional<std::vector<VariableChange>> cached_setup(const std::vector<std::string>& lines,
                                                        const std::filesystem::path& root);

}  // namespace trainctl::host
