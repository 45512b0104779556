// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "format/plan.hpp"
#include "host/distribution/layout.hpp"
#include "host/distribution/mpi.hpp"
#include "host/distribution/ports.hpp"
#include "host/distribution/rank_variables.hpp"
#include "host/waiter/rank_record.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;

namespace {

format::Plan plan_of(const std::string& type, int per_node, int nodes = 1) {
  format::Plan plan;
  plan.distribution = format::PlanDistribution{.type = type};
  plan.processes_per_node = per_node;
  plan.resources.nodes = nodes;
  return plan;
}

format::Plan tensorflow(bool chief, int workers, int servers, bool evaluator, int nodes = 1) {
  format::Plan plan = plan_of("tensorflow", 1, nodes);
  plan.distribution->chief = chief;
  plan.distribution->workers = workers;
  plan.distribution->parameter_servers = servers;
  plan.distribution->evaluator = evaluator;
  return plan;
}

std::map<std::string, std::string> all_variables(const format::Plan& plan, int rank, const Rendezvous& meeting) {
  std::map<std::string, std::string> all;
  for (const auto& [name, value] : shared_variables(plan, meeting)) all[name] = value;
  for (const auto& [name, value] : own_variables(plan, layout(plan).at(static_cast<std::size_t>(rank)))) {
    all[name] = value;
  }
  return all;
}

std::optional<RankExit> exited(int code, std::uint64_t at) {
  return RankExit{.code = code, .mono_ns = at};
}

struct Folder {
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "trainctl-ports-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::filesystem::path path;
};

base::UniqueFd listen_on(int port, bool reuse) {
  base::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (reuse) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  if (::listen(fd.get(), 5) != 0) return {};
  return fd;
}

}  // namespace

TEST_CASE("ranks lie on consecutive nodes", "[distribution]") {
  const auto places = layout(plan_of("pytorch", 2, 2));
  REQUIRE(places.size() == 4);
  CHECK(places[3] == RankPlace{.rank = 3, .node = 1, .local_rank = 1, .local_size = 2, .role_index = 3});
  CHECK(waiter_count(plan_of("pytorch", 2, 2), 1) == 2);
  CHECK(waiter_count(plan_of("mpi", 4), 0) == 1);
  CHECK_FALSE(is_distributed(format::Plan{}));
}

TEST_CASE("tensorflow's roles come in order, and the last node may hold fewer", "[distribution]") {
  const auto places = layout(tensorflow(true, 2, 1, true, 2));
  REQUIRE(places.size() == 5);
  const std::vector<std::pair<Role, int>> expected = {
      {Role::chief, 0}, {Role::worker, 0}, {Role::worker, 1}, {Role::ps, 0}, {Role::evaluator, 0}};
  for (std::size_t i = 0; i < places.size(); ++i) {
    CHECK(places[i].role == expected[i].first);
    CHECK(places[i].role_index == expected[i].second);
  }
  CHECK(places[4].node == 1);
  CHECK(places[4].local_size == 2);
}

TEST_CASE("every convention's variables for each rank", "[distribution]") {
  const Rendezvous meeting{.addresses = {"10.0.0.1", "10.0.0.2"}, .master_port = 23456};
  struct Case {
    const char* type;
    int per_node, nodes, rank;
    std::map<std::string, std::string> expected;
  };
  const std::vector<Case> cases = {{"pytorch",
                                    2,
                                    2,
                                    3,
                                    {{"RANK", "3"},
                                     {"LOCAL_RANK", "1"},
                                     {"WORLD_SIZE", "4"},
                                     {"LOCAL_WORLD_SIZE", "2"},
                                     {"NODE_RANK", "1"},
                                     {"GROUP_RANK", "1"},
                                     {"MASTER_ADDR", "10.0.0.1"},
                                     {"MASTER_PORT", "23456"},
                                     {"AZ_BATCH_MASTER_NODE", "10.0.0.1:23456"},
                                     {"AZ_BATCH_HOST_LIST", "10.0.0.1,10.0.0.2"},
                                     {"AZ_BATCH_NODE_LIST", "10.0.0.1;10.0.0.2"},
                                     {"AZ_BATCHAI_MPI_MASTER_NODE", "10.0.0.1"},
                                     {"AZ_BATCHAI_TASK_INDEX", "3"},
                                     {"AZUREML_NODE_COUNT", "2"},
                                     {"AZUREML_CR_NODE_RANK", "1"},
                                     {"OMPI_COMM_WORLD_RANK", "3"},
                                     {"OMPI_COMM_WORLD_SIZE", "4"},
                                     {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                     {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                                     {"OMPI_COMM_WORLD_NODE_RANK", "1"},
                                     {"TRAINCTL_RANK", "3"},
                                     {"TRAINCTL_LOCAL_RANK", "1"},
                                     {"TRAINCTL_WORLD_SIZE", "4"}}},
                                   {"processes",
                                    3,
                                    1,
                                    2,
                                    {{"RANK", "2"},
                                     {"LOCAL_RANK", "2"},
                                     {"WORLD_SIZE", "3"},
                                     {"LOCAL_WORLD_SIZE", "3"},
                                     {"NODE_RANK", "0"},
                                     {"GROUP_RANK", "0"},
                                     {"MASTER_ADDR", "10.0.0.1"},
                                     {"MASTER_PORT", "23456"},
                                     {"AZ_BATCH_MASTER_NODE", "10.0.0.1:23456"},
                                     {"AZ_BATCH_HOST_LIST", "10.0.0.1,10.0.0.2"},
                                     {"AZ_BATCH_NODE_LIST", "10.0.0.1;10.0.0.2"},
                                     {"AZ_BATCHAI_MPI_MASTER_NODE", "10.0.0.1"},
                                     {"AZ_BATCHAI_TASK_INDEX", "2"},
                                     {"AZUREML_NODE_COUNT", "1"},
                                     {"AZUREML_CR_NODE_RANK", "0"},
                                     {"OMPI_COMM_WORLD_RANK", "2"},
                                     {"OMPI_COMM_WORLD_SIZE", "3"},
                                     {"OMPI_COMM_WORLD_LOCAL_RANK", "2"},
                                     {"OMPI_COMM_WORLD_LOCAL_SIZE", "3"},
                                     {"OMPI_COMM_WORLD_NODE_RANK", "2"},
                                     {"TRAINCTL_RANK", "2"},
                                     {"TRAINCTL_LOCAL_RANK", "2"},
                                     {"TRAINCTL_WORLD_SIZE", "3"}}}};
  for (const Case& one : cases) {
    CAPTURE(one.type);
    CHECK(all_variables(plan_of(one.type, one.per_node, one.nodes), one.rank, meeting) == one.expected);
  }
}

TEST_CASE("on one machine gloo uses loopback, and an IPv6 address gets its brackets", "[distribution]") {
  format::Plan plan = plan_of("pytorch", 1);
  plan.distribution->backend = "gloo";
  const auto made = all_variables(plan, 0, {.addresses = {"fd00::1"}, .master_port = 5});
  CHECK(made.at("GLOO_SOCKET_IFNAME") == "lo");
  CHECK(made.at("TRAINCTL_BACKEND") == "gloo");
  CHECK(made.at("AZ_BATCH_MASTER_NODE") == "[fd00::1]:5");
}

TEST_CASE("TF_CONFIG names the cluster and the task", "[distribution]") {
  struct Case {
    format::Plan plan;
    int rank;
    const char* expected;
  };
  const std::vector<Case> cases = {
      {tensorflow(false, 2, 0, false), 1,
       R"({"cluster":{"worker":["127.0.0.1:1","127.0.0.1:2"]},"task":{"type":"worker","index":1},"environment":"cloud"})"},
      {tensorflow(true, 1, 1, false), 2,
       R"({"cluster":{"chief":["127.0.0.1:1"],"worker":["127.0.0.1:2"],"ps":["127.0.0.1:3"]},)"
       R"("task":{"type":"ps","index":0},"environment":"cloud"})"},
      {tensorflow(true, 1, 0, true), 2,
       R"({"cluster":{"chief":["127.0.0.1:1"],"worker":["127.0.0.1:2"]},"task":{"type":"evaluator","index":0},)"
       R"("environment":"cloud"})"}};
  for (const Case& one : cases) {
    const auto places = layout(one.plan);
    const auto text =
        tf_config(places, places.at(static_cast<std::size_t>(one.rank)), {.master_port = 1, .ports = {1, 2, 3}});
    CHECK(text == one.expected);
  }
}

TEST_CASE("the training is over when those who train have succeeded", "[distribution]") {
  const auto ps = layout(tensorflow(true, 1, 1, false));
  CHECK_FALSE(completed_at(ps, {std::nullopt, std::nullopt, std::nullopt}));
  CHECK(completed_at(ps, {exited(0, 7), std::nullopt, std::nullopt}) == 7U);  // the chief alone
  CHECK_FALSE(completed_at(ps, {exited(1, 7), std::nullopt, std::nullopt}));
  const auto old = layout(tensorflow(false, 2, 1, false));
  CHECK_FALSE(completed_at(old, {exited(0, 7), std::nullopt, std::nullopt}));
  CHECK(completed_at(old, {exited(0, 7), exited(0, 9), std::nullopt}) == 9U);  // all workers
  const auto mirrored = layout(tensorflow(true, 1, 0, true));
  CHECK_FALSE(completed_at(mirrored, {exited(0, 7), std::nullopt, std::nullopt}));
  CHECK(completed_at(mirrored, {exited(0, 7), exited(0, 8), std::nullopt}) == 8U);
  CHECK_FALSE(completed_at(layout(plan_of("pytorch", 2)), {exited(0, 1), exited(0, 2)}));
}

TEST_CASE("GPUs are shared out only where a process would take them all", "[distribution]") {
  const format::Plan torch = plan_of("pytorch", 2);
  CHECK(gpus_of_rank(layout(torch), layout(torch)[1], torch, {4, 5}) == std::vector<int>{4, 5});
  const format::Plan plan = tensorflow(true, 1, 1, false);
  const auto places = layout(plan);
  CHECK(gpus_of_rank(places, places[0], plan, {4, 5}) == std::vector<int>{4});
  CHECK(gpus_of_rank(places, places[1], plan, {4, 5}) == std::vector<int>{5});
  CHECK(gpus_of_rank(places, places[2], plan, {4, 5}).empty());
  CHECK(gpus_of_rank(places, places[1], plan, {4}) == std::vector<int>{4});
  CHECK(threads_per_rank(8, 3) == 2);
  CHECK(threads_per_rank(1, 4) == 1);
}

TEST_CASE("each mpiexec is known by what it says", "[distribution]") {
  CHECK(read_mpi_version("m", "mpiexec (OpenRTE) 4.1.4\n\nReport bugs to http://www.open-mpi.org").kind ==
        MpiKind::open_mpi);
  CHECK(read_mpi_version("m", "mpirun (Open MPI) 5.0.11\n").version == "5.0.11");
  const auto mpich = read_mpi_version("m", "HYDRA build details:\n    Version:                4.0.2\n");
  CHECK(mpich.kind == MpiKind::hydra);
  CHECK(mpich.version == "4.0.2");
  CHECK(read_mpi_version("m", "Intel(R) MPI Library for Linux* OS, Version 2021.9").kind == MpiKind::hydra);
  CHECK(read_mpi_version("m", "something else").kind == MpiKind::other);
  const format::Plan plan = plan_of("mpi", 2);
  CHECK(mpi_command({"m", MpiKind::open_mpi}, plan) ==
        std::vector<std::string>{"m", "--host", "localhost:2", "--bind-to", "none", "-n", "2"});
  CHECK(mpi_command({"m", MpiKind::hydra}, plan) == std::vector<std::string>{"m", "-launcher", "fork", "-n", "2"});
  const format::Plan several = plan_of("mpi", 2, 2);
  CHECK(mpi_command({"m", MpiKind::hydra}, several) == std::vector<std::string>{"m", "-n", "4"});
  CHECK(mpi_command({"m", MpiKind::open_mpi}, several) ==
        std::vector<std::string>{"m", "--bind-to", "none", "-n", "4"});
  CHECK(mpi_variables({"m", MpiKind::open_mpi, "5.0"}, true, true).front().first == "OMPI_ALLOW_RUN_AS_ROOT");
  CHECK(mpi_variables({"m", MpiKind::open_mpi, "5.0"}, false, true).empty());
}

TEST_CASE("a chosen port is ours: a server may share it, nobody else gets it", "[distribution]") {
  const Folder folder;
  auto first = PortReservation::choose(3, folder.path / "slots");
  REQUIRE(first);
  REQUIRE(first->ports().size() == 3);
  CHECK(std::set<int>(first->ports().begin(), first->ports().end()).size() == 3);
  const int port = first->ports()[0];
  CHECK_FALSE(listen_on(port, false));  // a stranger
  CHECK(listen_on(port, true));         // TCPStore, gRPC and most others set SO_REUSEADDR
  first->release();
  CHECK(listen_on(port, false));
  auto second = PortReservation::choose(200, folder.path / "slots");
  REQUIRE(second);
  for (const int other : second->ports()) {
    CHECK(std::find(first->ports().begin(), first->ports().end(), other) == first->ports().end());
  }
}

TEST_CASE("a port that was taken is told from other failures", "[distribution]") {
  const Folder folder;
  auto chosen = PortReservation::choose(1, folder.path / "slots");
  REQUIRE(chosen);
  const int port = chosen->ports()[0];
  const auto log = folder.path / "std.log";
  REQUIRE(base::write_file_atomic(log, "OSError: [Errno 98] Address already in use\n"));
  CHECK(taken_port(chosen->ports(), {log}) == 0);  // some other address
  {
    chosen->release();
    const auto stranger = listen_on(port, true);
    REQUIRE(stranger);
    CHECK(taken_port(chosen->ports(), {log}) == port);
    REQUIRE(base::write_file_atomic(log, "ValueError\n"));
    CHECK(taken_port(chosen->ports(), {log}) == 0);
  }
  REQUIRE(
      base::write_file_atomic(log, "bind [::]:" + std::to_string(port) + " (errno: 98 - Address already in use)\n"));
  CHECK(taken_port(chosen->ports(), {log}) == port);
}
