// SPDX-License-Identifier: Apache-2.0
// A .runconfig of Azure ML's SDK v1: keys and defaults as azureml-core 1.61 writes them.
#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
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

constexpr const char* kTool = "Azure ML's run configurations";

constexpr std::array kMeaningless = std::to_array<Meaningless>({
    {"priority", "", "the cluster's queue has its own; set \"priority\" for the queue of this host"},
    {"history.snapshotProject", "true", "every run keeps a snapshot; \"in_place\": true runs without one"},
    {"history.directoriesToWatch", "", "see \"keep\""},
    {"spark.configuration", R"({"spark.app.name":"Azure ML Experiment","spark.yarn.maxAppAttempts":1})",
     "Spark settings: give them to the script, e.g. in PYSPARK_SUBMIT_ARGS"},
    {"hdi.yarnDeployMode", "\"cluster\"", "HDInsight is not a target"},
    {"docker.sharedVolumes", "true", "the run's own folders are mounted, nothing else; see container.volumes"},
    {"environment.docker.sharedVolumes", "true", "the run's own folders are mounted, nothing else"},
    {"environment.docker.platform", R"({"os":"Linux","architecture":"amd64"})", "the image is for the host"},
    {"environment.docker.platform.os", "\"Linux\"", "images are for Linux"},
    {"environment.docker.platform.architecture", "\"amd64\"", "the image is for the host's architecture"},
    {"environment.name", "\"default-environment\"", "an environment is what it contains; it needs no name"},
    {"environment.version", "", "an environment is what it contains"},
    {"environment.assetId", "", "an environment of a workspace: write its packages or image here"},
    {"environment.inferencingStackVersion", "", "for serving only"},
    {"environment.python.baseCondaEnvironment", "", "an environment is not built on top of another one"},
    {"environment.spark", R"({"repositories":[],"packages":[],"precachePackages":true})",
     "Spark packages: give them to the script"},
    {"environment.spark.repositories", "", "Spark packages: give them to the script"},
    {"environment.spark.packages", "", "Spark packages: give them to the script, e.g. spark.jars.packages"},
    {"environment.spark.precachePackages", "true", "Spark packages: give them to the script"},
    {"environment.databricks", "", "libraries of a Databricks cluster"},
    {"environment.r", "", "R: use a container image with R, or a command"},
    {"tensorflow.workerCount", "1", "only with TensorFlow and ParameterServer"},
    {"tensorflow.parameterServerCount", "1", "only with TensorFlow and ParameterServer"},
    {"mpi.processCountPerNode", "1", "only with the communicator Mpi"},
    {"mpi.nodeCount", "1", "\"nodeCount\" says how many nodes there are"},
    {"pytorch.communicationBackend", "\"nccl\"", "only with PyTorch"},
    {"pytorch.processCount", "", "only with PyTorch"},
    {"pytorch.nodeCount", "1", "\"nodeCount\" says how many nodes there are"},
    {"paralleltask.maxRetriesPerWorker", "0", "parallel tasks are not taken over"},
    {"paralleltask.workerCountPerNode", "1", "parallel tasks are not taken over"},
    {"paralleltask.terminalExitCodes", "", "parallel tasks are not taken over"},
    {"datacaches", "", "data is read where it lies"},
    {"sourceDirectoryDataStore", "", "the source directory is a folder here"},
    {"amlcompute.vmSize", "", "a target is a machine you have: its size is not asked for; see \"resources\""},
    {"amlcompute.vmPriority", "", "a target is a machine you have"},
    {"amlcompute.retainCluster", "false", "a target is a machine you have"},
    {"amlcompute.name", "", "a target is a machine you have: say which with \"target\""},
    {"amlcompute.clusterMaxNodeCount", "1", "a target is a machine you have"},
    {"kubernetescompute.instanceType", "", "a target is a machine you have; see \"resources\""},
    {"autoClusterComputeSpecification", "", "a target is a machine you have"},
    {"credentialPassthrough", "false", "runs have no Azure identity; name what they need in \"secrets\""},
    {"applicationEndpoints", "", "interactive endpoints are not taken over"},
    {"autoPrepareEnvironment", "true", "environments are always prepared"},
    {"prepareEnvironment", "true", "environments are always prepared"},
});

/// What the node replaces in arguments: the SDK's placeholders for data.
std::string with_references(std::string text, const Json& configuration) {
  const auto named = [&](const char* list, const std::string& name) {
    return configuration.contains(list) && configuration[list].contains(name);
  };
  for (const std::string_view mark : {"DatasetConsumptionConfig:", "DatasetOutputConfig:", "$AZUREML_DATAREFERENCE_"}) {
    for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
      std::size_t end = at + mark.size();
      while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) != 0 || text[end] == '_')) ++end;
      const std::string name = field_name(text.substr(at + mark.size(), end - at - mark.size()));
      const char* kind = named("outputs", name) ? "outputs" : "inputs";
      text.replace(at, end - at, std::string("${{") + kind + "." + name + "}}");
    }
  }
  return text;
}

void command(Report& report, Json& out) {
  const Value written = report.root().get("command");
  if (!written.is_set()) return;
  if (written.json().is_array()) {
    for (const Value& word : written.items()) out["command"].push_back(with_references(report.text_of(word), out));
  } else {
    out["command"] = with_references(written.text(), out);
  }
  report.mapped(written, "command");
}

void arguments(Report& report, Json& out) {
  const Value arguments = report.root().get("arguments");
  if (!arguments.is_set()) return;
  if (out.contains("command")) return report.dropped(arguments, "\"command\" says what runs, with its arguments");
  std::vector<std::string> words;
  for (const Value& word : arguments.items()) words.push_back(with_references(report.text_of(word), out));
  const bool references =
      std::any_of(words.begin(), words.end(), [](const auto& word) { return word.find("${{") != std::string::npos; });
  ScriptArguments split;
  split.rest = words;
  if (!references) split = split_script_arguments(words);
  if (!split.parameters.empty()) {
    out["parameters"] = split.parameters;
    if (split.style != "--k v") out["parameter_style"] = split.style;
  }
  if (!split.rest.empty()) out["arguments"] = split.rest;
  report.mapped(arguments, split.parameters.empty() ? "arguments"
                           : split.rest.empty()     ? "parameters"
                                                    : "parameters, arguments");
}

void script(const Request& request, Report& report, Imported& made) {
  Json& out = made.configuration;
  const Value root = report.root();
  const std::string folder = result_path(request, ".");
  if (folder != ".") out["source_directory"] = folder;
  command(report, out);
  if (const Value path = root.get("script"); path.is_set()) {
    if (out.contains("command")) {
      report.dropped(path, "\"command\" says what runs");
    } else {
      out["script"] = fs::path(path.text()).lexically_normal().string();
      report.mapped(path, "script");
    }
  }
  arguments(report, out);
}

void variables(Report& report, Imported& made) {
  Json& out = made.configuration;
  for (const char* list : {"environment.environmentVariables", "environmentVariables"}) {
    for (const auto& [name, value] : report.root().at(list).fields()) {
      if (name == "EXAMPLE_ENV_VAR" && value.text() == "EXAMPLE_VALUE") {
        report.unset(value);
        continue;
      }
      out["environment_variables"][name] = report.text_of(value);
      report.mapped(value, "environment_variables." + name);
    }
  }
}

std::string duration_text(std::int64_t seconds, const std::string& written) {
  if (seconds > 0 && seconds % 86400 == 0) return std::to_string(seconds / 86400) + "d";
  if (seconds > 0 && seconds % 3600 == 0) return std::to_string(seconds / 3600) + "h";
  if (seconds > 0 && seconds % 60 == 0) return std::to_string(seconds / 60) + "m";
  return written + "s";
}

void where_and_how_long(Report& report, Imported& made) {
  Json& out = made.configuration;
  const Value root = report.root();
  if (const Value target = root.get("target"); target.is_set()) {
    if (target.text() == "local") {
      report.unset(target);
    } else {
      report.dropped(target,
                     "\"" + target.text() +
                         "\" is a compute of a workspace: the run is for this machine; name one of your targets "
                         "with \"target\"");
    }
  }
  if (const Value seconds = root.get("maxRunDurationSeconds"); seconds.is_set()) {
    out["limits"]["timeout"] = duration_text(seconds.whole().value_or(0), seconds.text());
    report.mapped(seconds, "limits.timeout");
  }
  if (const Value nodes = root.get("nodeCount")) {
    const std::int64_t count = nodes.whole().value_or(1);
    if (count <= 1) {
      report.unset(nodes);
    } else {
      out["resources"]["nodes"] = count;
      report.changed(nodes, "resources.nodes",
                     "the target must have " + std::to_string(count) + " hosts; on one: --set resources.nodes=1");
    }
  }
  const Value outputs = root.at("history.outputCollection");
  if (outputs && base::to_lower(outputs.text()) == "false") {
    out["collect"] = "never";
    report.mapped(outputs, "collect");
  } else if (outputs) {
    report.unset(outputs);
  }
  if (const Value watched = root.at("history.directoriesToWatch"); watched.is_set()) {
    for (const Value& folder : watched.items()) {
      const std::string name = fs::path(folder.text()).lexically_normal().string();
      if (!name.empty() && name != "." && !name.starts_with("/") && !name.starts_with(".."))
        out["keep"].push_back(name + "/**");
    }
    report.changed(watched, "keep", "kept when the run ends; on Azure they are uploaded while it runs");
  }
}

/// The words that every rank executes.
Json rank_words(const Report& report, const Json& out) {
  if (out.contains("command")) {
    if (out["command"].is_array()) return out["command"];
    return Json::array({"bash", "-c", out["command"]});
  }
  Json words = {"python3", out["script"]};
  for (const Value& word : report.root().get("arguments").items())
    words.push_back(with_references(report.text_of(word), out));
  return words;
}

/// mpiexec of the host does not reach into a container: the image's own starts the ranks, all on one machine.
void mpi_in_container(Report& report, Json& out) {
  if (!out.contains("distribution") || out["distribution"].value("type", "") != "mpi") return;
  if (!out.contains("environment") || !out["environment"].contains("container")) return;
  if (!out.contains("script") && !out.contains("command")) return;
  const std::int64_t nodes = out.contains("resources") ? out["resources"].value("nodes", std::int64_t{1}) : 1;
  const std::int64_t ranks = nodes * out["distribution"].value("processes_per_node", std::int64_t{1});
  Json command = {"mpiexec", "-n", std::to_string(ranks)};
  for (Json& word : rank_words(report, out)) command.push_back(std::move(word));
  for (const char* field : {"script", "arguments", "parameters", "parameter_style", "distribution", "resources"})
    out.erase(field);
  out["command"] = std::move(command);
  const std::string note =
      "in a container the image's mpiexec starts the " + std::to_string(ranks) + " ranks, on one machine";
  report.again(report.root().get("communicator"), "command", note);
  if (nodes > 1) report.again(report.root().get("nodeCount"), "command", note);
}

}  // namespace

Result<Imported> azureml_runconfig(const base::LocatedJson& document, const Request& request) {
  if (!document.value.is_object()) {
    return fail(Error{.code = Errc::invalid,
                      .message = "this is no run configuration: expected an object",
                      .at = SourcePosition{request.file.string(), 1, 1}});
  }
  Imported made;
  Report report(document);
  azureml_data(request, report, made);
  script(request, report, made);
  variables(report, made);
  where_and_how_long(report, made);
  azureml_distribution(report, made);
  azureml_environment(request, report, made);
  if (made.configuration.contains("script"))
    made.configuration["name"] = field_name(fs::path(made.configuration["script"].get<std::string>()).stem().string());
  mpi_in_container(report, made.configuration);
  report.rest(kMeaningless, kTool);
  Json& out = made.configuration;
  if (!out.contains("name")) out["name"] = field_name(request.file.stem().string());
  out = in_order(out);
  made.items = std::move(report).items();
  return made;
}

}  // namespace trainctl::spec::import
