// SPDX-License-Identifier: Apache-2.0
// From the files of other tools to run configurations. Pure: files beside the document are read through a function.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/json_locate.hpp"
#include "spec/import/report.hpp"

namespace trainctl::spec::import {

enum class Format { azureml_runconfig, mlproject };

struct Request {
  Format format = Format::azureml_runconfig;
  std::filesystem::path file;        ///< as the person wrote it
  std::filesystem::path project;     ///< the source directory: of an .azureml/x.runconfig the folder above .azureml
  std::filesystem::path from;        ///< the folder the result will lie in; its paths count from there
  std::string entry_point = "main";  ///< of an MLproject
  std::map<std::string, std::string, std::less<>> given;  ///< values for parameters
  std::map<std::string, std::string, std::less<>> data;   ///< where inputs lie here, by name
  /// Another YAML file of the project (python_env.yaml), by absolute or project path.
  std::function<Result<base::LocatedJson>(const std::filesystem::path&)> read = {};
};

/// A file the run configuration refers to and that has to be written beside it.
struct ExtraFile {
  std::string name;
  std::string text;
};

struct Imported {
  Json configuration = Json::object();
  std::vector<Item> items;
  std::vector<ExtraFile> files = {};
};

/// Azure ML's RunConfiguration. Errors: the document is no run configuration.
Result<Imported> azureml_runconfig(const base::LocatedJson& document, const Request& request);
/// MLflow's MLproject. Errors: there is no such entry point; the document is no project.
Result<Imported> mlproject(const base::LocatedJson& document, const Request& request);

/// What a document is, from its name and its keys; empty when it is neither.
std::optional<Format> recognise(const std::filesystem::path& file, const Json& document);

}  // namespace trainctl::spec::import
