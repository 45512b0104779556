// SPDX-License-Identifier: Apache-2.0
// framework and communicator. One intent has two spellings: estimators write "Mpi", "Nccl", "python" what a
// ScriptRunConfig writes as "IntelMpi", "nccl", "Python".
#include <algorithm>
#include <cstdint>
#include <string>

#include "base/json.hpp"
#include "spec/import/import.hpp"
#include "spec/import/parts.hpp"
#include "spec/import/report.hpp"

namespace trainctl::spec::import {
namespace {

void mpi(Report& report, Json& distribution) {
  distribution["type"] = "mpi";
  const Value processes = report.root().at("mpi.processCountPerNode");
  if (!processes) return;
  distribution["processes_per_node"] = processes.whole().value_or(1);
  report.mapped(processes, "distribution.processes_per_node");
}

/// Azure counts all processes together, trainctl those of a node.
void pytorch(Report& report, const std::string& communicator, Json& distribution) {
  distribution["type"] = "pytorch";
  const Value root = report.root();
  const Value backend = root.at("pytorch.communicationBackend");
  const std::string name = communicator == "gloo" || communicator == "nccl" ? communicator : folded(backend.text());
  if (name == "gloo" || name == "nccl") distribution["backend"] = name;
  if (folded(backend.text()) == name) report.mapped(backend, "distribution.backend");
  const std::int64_t nodes = std::max<std::int64_t>(root.get("nodeCount").whole().value_or(1), 1);
  const Value processes = root.at("pytorch.processCount");
  const std::int64_t count = std::max<std::int64_t>(processes.whole().value_or(nodes), 1);
  distribution["processes_per_node"] = (count + nodes - 1) / nodes;
  if (!processes.is_set()) return;
  if (count % nodes == 0) return report.mapped(processes, "distribution.processes_per_node");
  report.changed(processes, "distribution.processes_per_node",
                 std::to_string(count) + " processes do not divide by " + std::to_string(nodes) + " nodes: rounded up");
}

void tensorflow(Report& report, Json& distribution) {
  distribution["type"] = "tensorflow";
  const Value workers = report.root().at("tensorflow.workerCount");
  const Value servers = report.root().at("tensorflow.parameterServerCount");
  distribution["worker_count"] = workers.whole().value_or(1);
  distribution["parameter_server_count"] = servers.whole().value_or(1);
  distribution["chief"] = false;  // on Azure worker 0 leads
  report.mapped(workers, "distribution.worker_count");
  report.mapped(servers, "distribution.parameter_server_count");
}

void say_framework(const std::string& name, const Value& framework, Report& report) {
  if (name == "pyspark") {
    report.changed(framework, "script", "runs as a Python script: add the package pyspark to the environment");
  } else if (name == "cntk") {
    report.changed(framework, "script", "runs as a Python script");
  } else {
    report.unset(framework);
  }
}

}  // namespace

void azureml_distribution(Report& report, Imported& made) {
  const Value framework = report.root().get("framework");
  const Value communicator = report.root().get("communicator");
  const std::string frame = folded(framework.text());
  const std::string how = folded(communicator.text());
  Json distribution;
  if (how.ends_with("mpi")) {
    mpi(report, distribution);
  } else if (how == "parameterserver" || how == "ps") {
    tensorflow(report, distribution);
  } else if (how == "nccl" || how == "gloo" ||
             (frame == "pytorch" && report.root().at("pytorch.processCount").is_set())) {
    pytorch(report, how, distribution);
  } else if (communicator.is_set() && how != "none") {
    report.dropped(communicator, "there is no counterpart of this communicator");
  }
  if (!distribution.is_null()) made.configuration["distribution"] = distribution;
  if (how == "none" || !communicator.is_set()) {
    report.unset(communicator);
  } else if (!distribution.is_null()) {
    report.mapped(communicator, "distribution.type");
  }
  say_framework(frame, framework, report);
}

}  // namespace trainctl::spec::import
