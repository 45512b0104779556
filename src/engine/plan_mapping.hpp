// SPDX-License-Identifier: Apache-2.0
// Field by field from what a person wrote to what the runner executes. Pure.
#pragma once

#include <filesystem>

#include "format/plan.hpp"
#include "host/environment/request.hpp"
#include "spec/load.hpp"

namespace trainctl::engine {

/// Everything of the plan that follows from the configuration alone: command, parameters, variables, data, resources,
/// limits, retry, stop, metrics, tags. Paths of inputs become absolute, counted from the base directory.
ResultAll<format::Plan> map_plan(const spec::LoadedRun& run);

/// The environment as the host layer takes it, with absolute paths.
host::EnvironmentInput map_environment(const spec::LoadedRun& run);

/// The absolute source directory of a run.
std::filesystem::path source_directory(const spec::LoadedRun& run);

/// A parameter's value as JSON, for the record.
Json parameter_json(const spec::ParameterValue& value);

}  // namespace trainctl::engine
