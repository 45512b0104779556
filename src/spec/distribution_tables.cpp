// SPDX-License-Identifier: Apache-2.0
// How the processes of a run find each other: the launch styles and the words other tools have for them.
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "spec/bind.hpp"
#include "spec/run_configuration.hpp"
#include "spec/schema.hpp"

namespace trainctl::spec {
namespace {

auto range(std::int64_t minimum, std::int64_t maximum) {
  return [=](Type& type) {
    type.minimum = minimum;
    type.maximum = maximum;
  };
}

/// Compared without case, "-" and "_": "IntelMpi" and "intel_mpi" are one word.
std::vector<WordAlias> type_aliases() {
  return {{"torch", "pytorch"},
          {"torchrun", "pytorch"},
          {"ddp", "pytorch"},
          {"gloo", "pytorch", "backend", "\"gloo\"", true},
          {"nccl", "pytorch", "backend", "\"nccl\"", true},
          {"openmpi", "mpi"},
          {"mpich", "mpi"},
          {"intel_mpi", "mpi"},
          {"multi_worker", "tensorflow"},
          {"multi_worker_mirrored", "tensorflow"},
          {"ps", "tensorflow", "parameter_server_count", "1"},
          {"parameter_server", "tensorflow", "parameter_server_count", "1"}};
}

Field type_field() {
  Field made =
      word_field("type", &Distribution::type,
                 {{"processes", DistributionType::processes},
                  {"pytorch", DistributionType::pytorch},
                  {"mpi", DistributionType::mpi},
                  {"tensorflow", DistributionType::tensorflow}},
                 "pytorch: the variables of torch.distributed; mpi: started by mpiexec; tensorflow: TF_CONFIG; "
                 "processes (default): the same command several times. The other words are spellings of these.");
  Type type = *made.type;
  type.word_aliases = type_aliases();
  for (const std::string_view word : type.words) type.word_aliases.push_back({word, word});  // "PyTorch", "Mpi"
  made.type = std::make_shared<Type>(std::move(type));
  return made;
}

}  // namespace

template <>
const Table& table_of<Distribution>() {
  using T = Distribution;
  static const Table table{
      .name = "distribution",
      .doc = "Several processes that train together: \"pytorch\", or an object.",
      .fields =
          {type_field(),
           field("processes_per_node", &T::processes_per_node,
                 "Processes on each node; default: one for each GPU of resources.gpus, else one.", range(1, 10000)),
           field("backend", &T::backend, "With pytorch: how the processes talk. Seen as TRAINCTL_BACKEND.",
                 [](Type& type) {
                   type.kind = Type::Kind::word;
                   type.words = {"gloo", "nccl"};
                   type.word_aliases = {{"gloo", "gloo"}, {"nccl", "nccl"}};
                 }),
           field("worker_count", &T::worker_count,
                 "With tensorflow: workers on all nodes together; the chief is not counted.", range(1, 10000)),
           field("parameter_server_count", &T::parameter_server_count,
                 "With tensorflow: parameter servers on all nodes together; they are ended when the training is over.",
                 range(0, 10000)),
           field("chief", &T::chief,
                 "With tensorflow: one more process that leads; default: when there are parameter servers. Without "
                 "one worker 0 leads."),
           field("evaluator", &T::evaluator, "With tensorflow: one more process that evaluates; default false.")},
      .aliases = {{"process_count_per_node", "processes_per_node"},
                  {"process_count_per_instance", "processes_per_node"},
                  {"communication_backend", "backend"},
                  {"workers", "worker_count"},
                  {"parameter_servers", "parameter_server_count"},
                  {"ps_count", "parameter_server_count"}},
      .shorthand = "type"};
  return table;
}

}  // namespace trainctl::spec
