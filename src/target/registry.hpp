// SPDX-License-Identifier: Apache-2.0
// The kinds of targets there are, and how one is opened. A new kind is one file and one row of the table in
// registry.cpp.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "spec/layer.hpp"
#include "spec/run_configuration.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {

struct TargetKind {
  std::string_view type;  ///< as in a definition's "type"
  std::string_view form;  ///< how a person names one: "local", "scripted:FILE"
  std::string_view summary;
};
std::span<const TargetKind> target_kinds();

/// What a person wrote as a target becomes its definition, which the plan keeps: {"name","type",…}. A name is that of a
/// target file of the project `directory` is in or of the user, else what a kind takes. Files are relative to
/// `directory`. Errc::not_found with what there is instead, Errc::invalid with the mistakes of a target file.
ResultAll<Json> resolve_target(std::string_view name, const std::filesystem::path& directory);

/// The same for the target of a run, which may be an object without a name.
ResultAll<Json> resolve_target(const spec::RunConfiguration& run, const std::filesystem::path& directory);

/// What holds for runs on this target below what they say themselves; empty without a file of that name, or with a
/// wrong one (resolve_target tells its mistakes).
std::optional<spec::Layer> target_defaults(std::string_view name, const std::filesystem::path& directory);

/// A name typed on the command line: files in it count from `directory` (where the person is), not from the spec.
std::string anchor_target(std::string_view name, const std::filesystem::path& directory);

/// Opens the target of a definition. `store` is the store of the runs.
Result<std::unique_ptr<Target>> open_target(const Json& definition, const std::filesystem::path& store);

}  // namespace trainctl::target
