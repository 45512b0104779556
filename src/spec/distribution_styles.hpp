// SPDX-License-Identifier: Apache-2.0
// The ways of training in several processes, under every name people know them by.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.hpp"

namespace trainctl::spec {

struct DistributionStyle {
  std::string_view name;  ///< as in presets and messages: parameter_server
  std::string_view type;  ///< of the run configuration's distribution: pytorch, mpi, tensorflow, processes; "" = none
  std::string_view backend = {};  ///< of pytorch: gloo, nccl
};

/// By any spelling: Mpi, IntelMpi, OpenMpi, ParameterServer, ps, Nccl, torch, MultiWorkerMirroredStrategy …
std::optional<DistributionStyle> find_style(std::string_view written);
/// The nearest name, for "did you mean".
std::optional<std::string> suggest_style(std::string_view written);
/// "mpi, gloo, nccl, …"
std::string style_names();

/// The block "distribution" of a run configuration. The one place that writes it.
struct DistributionBlock {
  DistributionStyle style;
  std::string backend = {};
  std::optional<std::int64_t> processes_per_node = {};
  std::optional<std::int64_t> worker_count = {};
  std::optional<std::int64_t> parameter_server_count = {};
};
Json to_json(const DistributionBlock& block);

}  // namespace trainctl::spec
