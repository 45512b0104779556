// SPDX-License-Identifier: Apache-2.0
#include "spec/import/parts.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "base/text.hpp"
#include "spec/import/import.hpp"
#include "spec/import/report.hpp"
#include "spec/lower.hpp"

namespace trainctl::spec::import {
namespace {

namespace fs = std::filesystem;

constexpr std::array kOrder = {
    "$schema",   "name",    "experiment",       "description",           "script",     "module",
    "command",   "shell",   "source_directory", "working_directory",     "parameters", "parameter_style",
    "arguments", "target",  "environment",      "environment_variables", "inputs",     "outputs",
    "keep",      "collect", "resources",        "distribution",          "limits",     "retry",
    "tags",      "priority"};

void add_package(const std::string& package, const char* list, const Value& from, Json& python, Report& report) {
  python[list].push_back(package);
  report.mapped(from, std::string("environment.python.") + list);
}

/// "python=3.8.13": the version without conda's build. True when the entry is about Python itself.
bool python_version(const Value& from, Json& python, Report& report) {
  const std::string spec = from.text();
  if (package_name(spec.substr(0, spec.find_first_of("=<> "))) != "python") return false;
  std::string version = spec.substr(std::min(spec.find_first_of("=<> "), spec.size()));
  const bool exact = version.starts_with("=");
  while (!version.empty() && (version.front() == '=' || version.front() == ' ')) version.erase(0, 1);
  if (exact) version = version.substr(0, version.find('='));
  while (version.ends_with("*") || version.ends_with(".")) version.pop_back();
  if (version.empty()) {
    report.unset(from);
    return true;
  }
  python["version"] = version;
  report.mapped(from, "environment.python.version");
  return true;
}

void conda_entry(const Value& item, Json& python, Report& report) {
  const std::string package = item.text();
  if (package.empty()) return report.dropped(item, "this is no package");
  if (python_version(item, python, report)) return;
  const std::string name = package_name(package.substr(package.rfind(':') + 1));
  if (name == "pip" || name == "setuptools" || name == "wheel") {
    return report.dropped(item, "what installs packages is chosen by trainctl");
  }
  add_package(package, "conda_packages", item, python, report);
}

}  // namespace

std::string result_path(const Request& request, const fs::path& path) {
  const fs::path whole = (path.is_absolute() ? path : request.project / path).lexically_normal();
  fs::path made = whole.lexically_relative(request.from);
  if (made.empty() || made.is_absolute()) made = whole;
  const std::string text = made.string();
  return text.size() > 1 && text.ends_with('/') ? text.substr(0, text.size() - 1) : text;
}

std::string field_name(std::string_view name) {
  std::string made;
  for (const char c : name) made += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  if (made.empty() || std::isalpha(static_cast<unsigned char>(made.front())) == 0) made.insert(0, "d");
  return made.substr(0, 63);
}

bool is_local_path(std::string_view path) {
  return !path.empty() && path.find("://") == std::string_view::npos && !path.starts_with("azureml:");
}

bool is_azureml_package(std::string_view requirement) {
  const std::string name = package_name(requirement);
  return name == "azureml-defaults" || name == "azureml-core" || name == "azureml-sdk" ||
         name == "azureml-dataset-runtime" || name == "azureml-dataprep" || name == "azureml-telemetry" ||
         name == "azureml-train-core" || name == "azureml-mlflow";
}

bool is_azureml_image(std::string_view image) {
  return image.starts_with("mcr.microsoft.com/azureml/") || image.starts_with("mcr.azureml.ms/");
}

void pip_requirement(const Value& item, const fs::path& folder, const Request& request, Json& python, Report& report) {
  const std::string text(base::trim(item.text()));
  if (text.empty()) return report.dropped(item, "this is no package");
  for (const std::string_view flag : {"-r ", "-r", "--requirement ", "--requirement="}) {
    if (!text.starts_with(flag) || text.size() == flag.size()) continue;
    if (python.contains("requirements_file")) {
      return report.dropped(item, "there can be one requirements file: put \"" + text + "\" into the first one");
    }
    python["requirements_file"] = result_path(request, folder / std::string(base::trim(text.substr(flag.size()))));
    return report.mapped(item, "environment.python.requirements_file");
  }
  for (const std::string_view flag : {"--index-url", "--extra-index-url", "-i"}) {
    if (!text.starts_with(flag) || text.size() == flag.size()) continue;
    const std::string url(base::trim(text.substr(flag.size() + 1)));
    python["index_urls"].push_back(url);
    return report.mapped(item, "environment.python.index_urls");
  }
  if (text.starts_with("-")) return report.dropped(item, "options of pip are not taken over");
  if (is_azureml_package(text)) {
    return report.dropped(item, "not needed: metrics logged with azureml.core.Run arrive without it");
  }
  add_package(text, "packages", item, python, report);
}

void conda_document(const Value& conda, Json& python, Report& report) {
  const Request nowhere;
  if (const Value name = conda.get("name")) report.unset(name);
  if (const Value channels = conda.get("channels"); channels.is_set()) {
    report.dropped(channels, "packages come from the Python package index");
  }
  for (const Value& item : conda.get("dependencies").items()) {
    if (!item.json().is_object()) {
      conda_entry(item, python, report);
      continue;
    }
    for (const auto& [key, list] : item.fields()) {
      if (key != "pip") {
        report.dropped(list, "only pip has a list of its own");
        continue;
      }
      for (const Value& package : list.items()) pip_requirement(package, ".", nowhere, python, report);
      report.taken(list);
    }
  }
  report.taken(conda.get("dependencies"));
}

Json in_order(const Json& configuration) {
  Json made = Json::object();
  for (const char* key : kOrder) {
    if (const auto found = configuration.find(key); found != configuration.end()) made[key] = *found;
  }
  for (const auto& [key, value] : configuration.items()) {
    if (!made.contains(key)) made[key] = value;
  }
  return made;
}

}  // namespace trainctl::spec::import
