// SPDX-License-Identifier: Apache-2.0
// What the importers share: paths, package lists, the order of the result.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "spec/import/import.hpp"

namespace trainctl::spec::import {

/// `path` (counted from the project) as it is written into the result.
std::string result_path(const Request& request, const std::filesystem::path& path);

/// A valid name of an input or output; `taken` names stay unique.
std::string field_name(std::string_view name);

/// A path of this machine, not a URL or a cloud's address.
bool is_local_path(std::string_view path);

/// A conda document (name, channels, dependencies) into `python` (environment.python).
void conda_document(const Value& conda, Json& python, Report& report);
/// One pip requirement: a package, "-r file", or what is reported instead. Returns where it went; empty: nowhere.
void pip_requirement(const Value& item, const std::filesystem::path& folder, const Request& request, Json& python,
                     Report& report);

/// The fields in the order people write them.
Json in_order(const Json& configuration);

/// Azure's own packages and images, which a run here does without.
bool is_azureml_package(std::string_view requirement);
bool is_azureml_image(std::string_view image);

/// Sections of a runconfig, each into `made`.
void azureml_environment(const Request& request, Report& report, Imported& made);
void azureml_data(const Request& request, Report& report, Imported& made);
void azureml_distribution(Report& report, Imported& made);

}  // namespace trainctl::spec::import
