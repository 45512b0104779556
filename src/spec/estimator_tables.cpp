// SPDX-License-Identifier: Apache-2.0
// The tables of estimators: a run configuration's fields and the words of the SDK's estimators.
#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "spec/bind.hpp"
#include "spec/estimator.hpp"
#include "spec/schema.hpp"
#include "spec/table_parts.hpp"

namespace trainctl::spec {
namespace {

void path(Type& type) {
  type.path = true;
}
void not_empty(Type& type) {
  type.not_empty = true;
}
void count(Type& type) {
  type.minimum = 1;
  type.maximum = 100000;
}
void count_or_none(Type& type) {
  type.minimum = 0;
  type.maximum = 100000;
}
void priority_words(Type& type) {
  type.kind = Type::Kind::word;
  type.words = {"dedicated", "lowpriority"};
}

/// Words of the SDK for fields of an estimator.
constexpr std::array kOwnAliases = {
    Alias{"estimator", "framework"},
    Alias{"distributed_backend", "distributed_training"},
    Alias{"distributed_job_config", "distributed_training"},
    Alias{"worker_count", "distributed_training.worker_count"},
    Alias{"parameter_server_count", "distributed_training.parameter_server_count"},
    Alias{"custom_docker_base_image", "custom_docker_image"},
    Alias{"image_registry_details", "environment.container.registry"},
    Alias{"conda_dependencies_file_path", "conda_dependencies_file"},
    Alias{"pip_requirements_file_path", "pip_requirements_file"},
};

/// A run configuration's shortcuts, but for the words an estimator has as fields of its own (pip_packages).
std::vector<Alias> estimator_aliases() {
  std::vector<Alias> aliases(kOwnAliases.begin(), kOwnAliases.end());
  const auto own = [](std::string_view name) {
    const auto same = [&](const auto& one) { return one.name == name; };
    return std::any_of(estimator_fields().begin(), estimator_fields().end(), same) ||
           std::any_of(kOwnAliases.begin(), kOwnAliases.end(), same);
  };
  for (const Alias& alias : run_aliases()) {
    if (!own(alias.name)) aliases.push_back(alias);
  }
  return aliases;
}

}  // namespace

template <>
const Table& table_of<DistributedTraining>() {
  using T = DistributedTraining;
  static const Table table{
      .name = "distributed training",
      .doc = "Several processes that train together; a text is the type.",
      .fields = {field("type", &T::type,
                       "mpi, gloo, nccl, pytorch, parameter_server, multi_worker, processes or none, in any spelling "
                       "(Mpi, IntelMpi, OpenMpi, ParameterServer, ps, Nccl …).",
                       not_empty),
                 field("backend", &T::backend, "What PyTorch's processes talk through: gloo or nccl.", not_empty),
                 field("process_count_per_node", &T::process_count_per_node, "Processes on each node.", count),
                 field("process_count", &T::process_count, "Processes on all nodes together.", count),
                 field("node_count", &T::node_count, "Nodes.", count),
                 field("worker_count", &T::worker_count, "TensorFlow: workers on all nodes together.", count),
                 field("parameter_server_count", &T::parameter_server_count,
                       "TensorFlow: parameter servers on all nodes together.", count_or_none)},
      .aliases = {{"processes_per_node", "process_count_per_node"},
                  {"communication_backend", "backend"},
                  {"communicator", "type"}},
      .shorthand = "type"};
  return table;
}

const std::vector<Field>& estimator_fields() {
  using T = Estimator;
  static const std::vector<Field> fields = {
      field("framework", &T::framework,
            "scikit-learn, tensorflow, keras, pytorch, chainer, generic, or any name of `trainctl estimator ls`.",
            not_empty),
      field("framework_version", &T::framework_version,
            "Version of the framework as text: \"2.3\" (the newest 2.3.x) or \"2.3.1\"; default: the preset's.",
            not_empty),
      field("distributed_training", &T::distributed_training, "Several processes: a type, or an object."),
      field("use_gpu", &T::use_gpu, "Install the framework for GPUs and reserve them; default false."),
      field("pip_packages", &T::pip_packages, "More packages, as pip writes them."),
      field("conda_packages", &T::conda_packages, "More packages, as conda writes them: \"scipy=1.11\"."),
      field("pip_requirements_file", &T::pip_requirements_file, "A pip requirements file with more packages.", path),
      field("conda_dependencies_file", &T::conda_dependencies_file, "A conda environment file with more packages.",
            path),
      field("user_managed", &T::user_managed,
            "Install nothing: the Python of the machine, or of the image, has everything; default false."),
      field("custom_docker_image", &T::custom_docker_image, "Run in this container image.", not_empty),
      field("use_docker", &T::use_docker, "Whether to run in a container; default: when there is an image."),
      field("shm_size", &T::shm_size, "Size of /dev/shm in the container."),
      field("vm_size", &T::vm_size, "Kind of machine, where a target makes machines for a run."),
      field("vm_priority", &T::vm_priority, "dedicated or lowpriority, where a target makes machines for a run.",
            priority_words),
      field("source_directory_data_store", &T::source_directory_data_store,
            "Data store for the source directory, where a target needs one."),
  };
  return fields;
}

const Table& estimator_fragment_table() {
  static const Table table = [] {
    Table made{.name = "estimator fragment", .doc = "Part of an estimator.", .fields = estimator_fields()};
    append(made.fields, program_fields());
    append(made.fields, surroundings_fields());
    made.aliases = estimator_aliases();
    return made;
  }();
  return table;
}

const Table& estimator_table() {
  static const Table table = [] {
    Table made{.name = "estimator",
               .doc = "A framework, a script and its parameters; everything a run configuration says may be said too.",
               .fields = {schema_field(), type_field("estimator")}};
    append(made.fields, estimator_fields());
    append(made.fields, program_fields());
    append(made.fields, surroundings_fields());
    made.fields.push_back(
        extends_field("An estimator or run configuration this one builds on, relative to this file."));
    append_composition(made.fields, &estimator_fragment_table);
    made.aliases = estimator_aliases();
    return made;
  }();
  return table;
}

void read_estimator(const Json& checked, Estimator& out) {
  for (const Field& one : estimator_fields()) {
    const auto found = checked.find(one.name);
    if (found != checked.end() && !found->is_null()) one.store(&out, *found);
  }
}

}  // namespace trainctl::spec
