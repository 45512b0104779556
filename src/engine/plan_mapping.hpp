// SPDX-License-Identifier: Apache-2.0
// Field by field from what a person wrote to what the runner executes. Pure.
#pragma once

#include <filesystem>
#include <string>

#include "format/plan.hpp"
#include "host/environment/request.hpp"
#include "spec/load.hpp"

namespace trainctl::engine {

/// Everything of the plan that follows from the configuration alone: command, parameters, variables, data, resources,
/// limits, retry, stop, metrics, tags. Paths of inputs become absolute, counted from the base directory.
ResultAll<format::Plan> map_plan(const spec::LoadedRun& run);

/// `path` counted from `base`, without a final slash; a path of the target (format::kStoreMark) stays as it is.
std::string absolute_path(const std::filesystem::path& base, const std::string& path);

/// The environment as the host layer takes it, with absolute paths. When it is not for this machine (`local` false)
/// nothing of this machine goes into it: Pythons and venvs are those of the target.
host::EnvironmentInput map_environment(const spec::LoadedRun& run, bool local = true);

/// The absolute source directory of a run.
std::filesystem::path source_directory(const spec::LoadedRun& run);

/// A parameter's value as JSON, for the record.
Json parameter_json(const spec::ParameterValue& value);

}  // namespace trainctl::engine
