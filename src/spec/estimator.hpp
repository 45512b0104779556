// SPDX-License-Identifier: Apache-2.0
// What an estimator says beside the fields of a run configuration. The words are those of the Azure ML SDK's
// estimators.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "spec/run_configuration.hpp"
#include "spec/schema.hpp"

namespace trainctl::spec {

struct DistributedTraining {
  std::optional<std::string> type;  ///< in any spelling: see distribution_styles.hpp
  std::optional<std::string> backend;
  std::optional<std::int64_t> process_count_per_node;
  std::optional<std::int64_t> process_count;  ///< on all nodes together
  std::optional<std::int64_t> node_count;
  std::optional<std::int64_t> worker_count;
  std::optional<std::int64_t> parameter_server_count;
};

struct Estimator {
  std::optional<std::string> framework;
  std::optional<std::string> framework_version;
  std::optional<DistributedTraining> distributed_training;
  std::optional<bool> use_gpu;
  std::vector<std::string> conda_packages;
  std::vector<std::string> pip_packages;
  std::optional<std::string> conda_dependencies_file;
  std::optional<std::string> pip_requirements_file;
  bool user_managed = false;
  std::optional<std::string> custom_docker_image;
  std::optional<bool> use_docker;
  std::optional<ByteSize> shm_size;
  std::optional<std::string> vm_size;
  std::optional<std::string> vm_priority;
  std::optional<std::string> source_directory_data_store;
};

/// An estimator file: every field of a run configuration, and those above.
const Table& estimator_table();
/// What may stand in its profiles and under "on", and what --set may name.
const Table& estimator_fragment_table();
/// The fields that only an estimator has.
const std::vector<Field>& estimator_fields();

/// Fills the struct from a checked document in canonical spelling.
void read_estimator(const Json& checked, Estimator& out);

}  // namespace trainctl::spec
