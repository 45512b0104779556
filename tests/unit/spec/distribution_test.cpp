// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <utility>
#include <vector>

#include "files.hpp"
#include "spec/load.hpp"
#include "spec/run_configuration.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::spec;
using trainctl::test::Folder;

namespace {

Distribution loaded(const Folder& folder, const std::string& field, const std::string& value,
                    const std::vector<std::string>& set = {}) {
  folder.write("d.json", R"({"script": "a.py", ")" + field + "\": " + value + "}");
  LoadOptions options{.path = folder / "d.json"};
  options.overrides.set = set;
  const auto run = load_run(options);
  REQUIRE(run);
  REQUIRE(run->config.distribution);
  return *run->config.distribution;
}

}  // namespace

TEST_CASE("every word for a launch style means the same in any case", "[distribution]") {
  using enum DistributionType;
  const std::vector<std::pair<std::string, DistributionType>> cases = {{"pytorch", pytorch},
                                                                       {"PyTorch", pytorch},
                                                                       {"torch", pytorch},
                                                                       {"ddp", pytorch},
                                                                       {"mpi", mpi},
                                                                       {"Mpi", mpi},
                                                                       {"IntelMpi", mpi},
                                                                       {"OpenMpi", mpi},
                                                                       {"mpich", mpi},
                                                                       {"Tensorflow", tensorflow},
                                                                       {"MultiWorker", tensorflow},
                                                                       {"multi_worker", tensorflow},
                                                                       {"processes", processes}};
  const Folder folder;
  for (const auto& [word, type] : cases) {
    CAPTURE(word);
    CHECK(loaded(folder, "distribution", "\"" + word + "\"").type == type);
    CHECK(loaded(folder, "distributed_training", R"({"type": ")" + word + "\"}").type == type);
  }
}

TEST_CASE("a backend as the type is pytorch with that backend", "[distribution]") {
  const Folder folder;
  for (const char* word : {"gloo", "Gloo", "nccl", "Nccl"}) {
    CAPTURE(word);
    const Distribution made = loaded(folder, "distribution", R"({"type": ")" + std::string(word) + "\"}");
    CHECK(made.type == DistributionType::pytorch);
    CHECK(made.backend == (word[0] == 'n' || word[0] == 'N' ? "nccl" : "gloo"));
  }
  const Distribution flag = loaded(folder, "distribution", "{}", {"distribution.type=nccl"});
  CHECK(flag.backend == "nccl");
  CHECK(loaded(folder, "distribution", R"({"type": "torch", "backend": "Gloo"})").backend == "gloo");
}

TEST_CASE("a parameter server is one unless it says how many", "[distribution]") {
  const Folder folder;
  const Distribution one = loaded(folder, "distribution", R"({"type": "ParameterServer", "worker_count": 2})");
  CHECK(one.type == DistributionType::tensorflow);
  CHECK(one.parameter_server_count == 1);
  CHECK(one.worker_count == 2);
  const Distribution two = loaded(folder, "distribution", R"({"type": "ps", "parameter_server_count": 2})");
  CHECK(two.parameter_server_count == 2);
  CHECK(loaded(folder, "distribution", R"({"process_count_per_node": 4})").processes_per_node == 4);
}
