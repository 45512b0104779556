// SPDX-License-Identifier: Apache-2.0
// MLflow's MLproject: https://mlflow.org/docs/latest/ml/projects/
#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "base/text.hpp"
#include "spec/import/import.hpp"
#include "spec/import/parts.hpp"
#include "spec/import/report.hpp"
#include "spec/overrides.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::spec::import {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTool = "MLproject files";

class Project {
 public:
  Project(const Request& request, Report& report, Imported& made)
      : request_(request), report_(report), out_(made.configuration) {}

  Result<> read() {
    const Value root = report_.root();
    if (const Value name = root.get("name"); name.is_set()) {
      out_["name"] = field_name(name.text());
      report_.mapped(name, "name");
    }
    if (const std::string folder = result_path(request_, "."); folder != ".") out_["source_directory"] = folder;
    TRY(entry_point());
    return environment();
  }

 private:
  Result<> entry_point() {
    const Value points = report_.root().get("entry_points");
    const auto all = points.fields();
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const auto& p) { return p.first == request_.entry_point; });
    if (found == all.end()) {
      std::string names;
      for (const auto& [name, value] : all) names += (names.empty() ? "" : ", ") + name;
      return fail(Errc::not_found, "there is no entry point \"" + request_.entry_point + "\"",
                  names.empty() ? "the project has none" : "--entry-point takes one of: " + names);
    }
    for (const auto& [name, value] : all) {
      if (name != request_.entry_point)
        report_.dropped(value, "another entry point: import it with --entry-point " + name);
    }
    parameters(found->second.get("parameters"));
    const Value command = found->second.get("command");
    if (!command.is_set())
      return fail(Errc::invalid, "the entry point \"" + request_.entry_point + "\" has no command");
    out_["command"] = shell_text(command.text());
    if (command.text().find('{') == std::string::npos)
      report_.mapped(command, "command");
    else
      report_.changed(command, "command", "{name} became ${{parameters.name}}");
    if (!parameters_.empty()) {
      out_["parameters"] = parameters_;
      out_["parameter_style"] = "none";
    }
    return {};
  }

  void parameters(const Value& list) {
    for (const auto& [name, value] : list.fields()) {
      const bool object = value.json().is_object();
      const std::string type = object ? value.get("type").text() : value.text();
      const Value standard = object ? value.get("default") : Value();
      declared_.insert(name);
      const std::string to = "parameters." + name;
      if (const auto given = request_.given.find(name); given != request_.given.end()) {
        parameters_[name] = parse_scalar(given->second);
        report_.changed(value, to, "has the value given with -p");
      } else if (!standard) {
        report_.changed(value, to, "has no default: say it with -p " + name + "=… when you submit");
      } else {
        parameters_[name] = standard.json().is_structured() ? Json(standard.text()) : standard.json();
        if (type == "float" && parameters_[name].is_number_float()) keep_digits(name, standard);
        report_.mapped(value, to);
      }
    }
  }

  /// 0.10 is written as it was; a float is only a text on the command line.
  void keep_digits(const std::string& name, const Value& standard) {
    const std::string written = report_.text_of(standard);
    if (parse_scalar(written).is_string()) parameters_[name] = written;
  }

  /// {alpha} of a declared parameter; {{ and }} are braces, everything else stays.
  [[nodiscard]] std::string shell_text(const std::string& command) const {
    std::string made;
    for (std::size_t at = 0; at < command.size(); ++at) {
      const char c = command[at];
      if ((c == '{' || c == '}') && at + 1 < command.size() && command[at + 1] == c) {
        made += c;
        ++at;
        continue;
      }
      const std::size_t end = c == '{' ? command.find('}', at) : std::string::npos;
      const std::string name = end == std::string::npos ? std::string() : command.substr(at + 1, end - at - 1);
      if (declared_.contains(name)) {
        made += "${{parameters." + name + "}}";
        at = end;
      } else {
        made += c;
      }
    }
    return made;
  }

  Result<> environment() {
    const Value root = report_.root();
    const Value conda = root.get("conda_env");
    const Value python = root.get("python_env");
    const Value docker = root.get("docker_env");
    if (docker.is_set()) container(docker);
    for (const Value& unused : {conda, python}) {
      if (unused.is_set() && docker.is_set()) report_.dropped(unused, "docker_env says where it runs");
    }
    if (docker.is_set()) return {};
    if (conda.is_set()) {
      out_["environment"]["python"]["conda_file"] = result_path(request_, conda.text());
      report_.mapped(conda, "environment.python.conda_file");
      if (python.is_set()) report_.dropped(python, "conda_env says which packages there are");
      return {};
    }
    return python.is_set() ? python_env(python) : Result<>();
  }

  /// python, build_dependencies, dependencies.
  Result<> python_env(const Value& reference) {
    const fs::path file = request_.project / reference.text();
    if (!request_.read) return fail(Errc::invalid, "python_env cannot be read here");
    TRY_ASSIGN(const auto document, request_.read(file));
    Report inner(document);
    Json made = Json::object();
    if (const Value version = inner.root().get("python"); version.is_set()) {
      made["version"] = inner.text_of(version);
      inner.mapped(version, "environment.python.version");
    }
    if (const Value tools = inner.root().get("build_dependencies"); tools.is_set()) {
      inner.dropped(tools, "what installs packages is chosen by trainctl");
    }
    for (const Value& item : inner.root().get("dependencies").items()) {
      pip_requirement(item, fs::path(reference.text()).parent_path(), request_, made, inner);
    }
    inner.taken(inner.root().get("dependencies"));
    inner.rest({}, "python_env.yaml");
    report_.mapped(reference, "environment.python");
    extra_items_ = std::move(inner).items();
    if (!made.empty()) out_["environment"]["python"] = made;
    return {};
  }

  void container(const Value& docker) {
    Json container = Json::object();
    if (const Value image = docker.get("image"); image.is_set()) {
      container["image"] = image.text();
      report_.mapped(image, "environment.container.image");
    }
    if (const Value volumes = docker.get("volumes"); volumes.is_set()) {
      for (const Value& volume : volumes.items()) container["volumes"].push_back(volume.text());
      report_.mapped(volumes, "environment.container.volumes");
    }
    for (const Value& variable : docker.get("environment").items()) {
      const auto pair = variable.items();
      if (pair.size() == 2) {
        out_["environment_variables"][pair[0].text()] = report_.text_of(pair[1]);
        report_.mapped(variable, "environment_variables." + pair[0].text());
      } else {
        const std::string name = variable.text();
        out_["environment_variables"][name] = "${{submit.env." + name + "}}";
        report_.mapped(variable, "environment_variables." + name);
      }
    }
    report_.taken(docker.get("environment"));
    out_["environment"]["container"] = container;
  }

 public:
  std::vector<Item> extra_items_;

 private:
  const Request& request_;
  Report& report_;
  Json& out_;
  Json parameters_ = Json::object();
  std::set<std::string> declared_;
};

}  // namespace

Result<Imported> mlproject(const base::LocatedJson& document, const Request& request) {
  if (!document.value.is_object()) {
    return fail(Error{.code = Errc::invalid,
                      .message = "this is no MLproject: expected an object",
                      .at = SourcePosition{request.file.string(), 1, 1}});
  }
  Imported made;
  Report report(document);
  Project project(request, report, made);
  TRY(project.read());
  report.rest({}, kTool);
  made.configuration = in_order(made.configuration);
  made.items = std::move(report).items();
  made.items.insert(made.items.end(), project.extra_items_.begin(), project.extra_items_.end());
  return made;
}

std::optional<Format> recognise(const fs::path& file, const Json& document) {
  const std::string name = base::to_lower(file.filename().string());
  if (name.starts_with("mlproject")) return Format::mlproject;
  if (file.extension() == ".runconfig") return Format::azureml_runconfig;
  if (!document.is_object()) return std::nullopt;
  const Value root(&document, "");
  if (root.get("entry_points")) return Format::mlproject;
  const std::array words = {"communicator", "framework", "nodeCount", "history", "dataReferences", "environment"};
  const auto known = std::count_if(words.begin(), words.end(), [&](const char* word) { return bool(root.get(word)); });
  if (known >= 2) return Format::azureml_runconfig;
  return std::nullopt;
}

}  // namespace trainctl::spec::import
