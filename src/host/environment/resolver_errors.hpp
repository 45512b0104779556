// SPDX-License-Identifier: Apache-2.0
// From what uv or pip printed to an error a person can act on: the tool's own sentence first.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trainctl/error.hpp"

namespace trainctl::host {

struct ToolFailure {
  std::string tool;   // uv | pip | conda …
  std::string doing;  // "resolving 3 packages"
  int exit_code = 1;
  std::string_view output;
};

/// Errc::unavailable without network (retryable), Errc::store for a full disk, else Errc::cannot_start.
Error explain_failure(const ToolFailure& failure);

/// "scikit-learn", "99" of "there is no version of scikit-learn==99"; for looking up what there is.
struct MissingVersion {
  std::string name, version;
};
std::optional<MissingVersion> missing_version(std::string_view output);

/// pip's "(from versions: 1.0, 1.1)".
std::vector<std::string> offered_versions(std::string_view output);

/// Up to four of `versions` around `wanted` and the newest, oldest first.
std::vector<std::string> near_versions(const std::string& wanted, std::vector<std::string> versions);

}  // namespace trainctl::host
