// SPDX-License-Identifier: Apache-2.0
// The kinds of targets there are, and how one is opened. A new kind is one file and one row of the table in
// registry.cpp.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {

struct TargetKind {
  std::string_view type;  ///< as in a definition's "type"
  std::string_view form;  ///< how a person names one: "local", "scripted:FILE"
  std::string_view summary;
};
std::span<const TargetKind> target_kinds();

/// What a person wrote as a target becomes its definition, which the plan keeps: {"name","type",…}. Files are relative
/// to `directory`. Errc::invalid with what there is instead.
ResultAll<Json> resolve_target(std::string_view name, const std::filesystem::path& directory);

/// A name typed on the command line: files in it count from `directory` (where the person is), not from the spec.
std::string anchor_target(std::string_view name, const std::filesystem::path& directory);

/// Opens the target of a definition. `store` is the store of the runs.
Result<std::unique_ptr<Target>> open_target(const Json& definition, const std::filesystem::path& store);

}  // namespace trainctl::target
