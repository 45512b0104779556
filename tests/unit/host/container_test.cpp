// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "format/plan.hpp"
#include "host/container/engine.hpp"
#include "host/container/image.hpp"
#include "host/container/inside.hpp"
#include "support/catch.hpp"

namespace trainctl::host {
namespace {

using Words = std::vector<std::string>;

bool has(const Words& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

format::Plan plan_with(format::PlanContainer container) {
  format::Plan plan;
  plan.container = std::move(container);
  return plan;
}

const ContainerRun kRun{.name = "trainctl-x-1-0",
                        .image = "sha256:1",
                        .run_id = "x",
                        .user = 1000,
                        .group = 1001,
                        .runner = "/opt/trainctl-runner",
                        .mounts = {{"/runs/x", true}, {"/data,1", false}},
                        .gpus = {1, 3}};

}  // namespace

TEST_CASE("the engine's command line", "[container]") {
  const format::Plan plan = plan_with({.arguments = {"--cap-add=SYS_PTRACE"}, .volumes = {"/a:/b:ro"}, .gpus = true});
  const Words docker = run_command({EngineKind::docker, "/usr/bin/docker"}, plan, kRun);
  CHECK(docker.front() == "/usr/bin/docker");
  CHECK(docker.back() == "sha256:1");
  CHECK(has(docker, "--user=1000:1001"));
  CHECK_FALSE(has(docker, "--userns=keep-id"));
  CHECK(has(docker, "--gpus=\"device=1,3\""));
  CHECK(has(docker, "--mount=type=bind,source=/runs/x,target=/runs/x"));
  CHECK(has(docker, "--mount=type=bind,\"source=/data,1\",\"target=/data,1\",ro=true"));
  CHECK(has(docker, "--volume=/a:/b:ro"));
  CHECK(has(docker, "--network=host"));
  CHECK(has(docker, "--ipc=host"));
  CHECK(has(docker, "--label=trainctl.run=x"));
  const Words podman = run_command({EngineKind::podman, "podman"}, plan, kRun);
  CHECK(has(podman, "--userns=keep-id"));
  CHECK(has(podman, "--device=nvidia.com/gpu=3"));
}

TEST_CASE("arguments of the person win over defaults", "[container]") {
  const format::Plan plan =
      plan_with({.arguments = {"--network=none", "--ipc", "private", "--log-driver=journald"}, .shm_size = {}});
  const Words words = run_command({}, plan, kRun);
  CHECK_FALSE(has(words, "--network=host"));
  CHECK_FALSE(has(words, "--ipc=host"));
  CHECK_FALSE(has(words, "--log-driver=none"));
  format::Plan sized = plan_with({.shm_size = 1024});
  sized.resources.memory = 4096;
  CHECK(has(run_command({}, sized, kRun), "--shm-size=1024b"));
  CHECK(has(run_command({}, sized, kRun), "--memory=4096b"));
  CHECK_FALSE(has(run_command({}, sized, kRun), "--ipc=host"));
}

TEST_CASE("the image's variables lie under ours", "[container]") {
  CHECK(inside_environment({"PATH=/opt/bin", "PYTHONPATH=/app", "A=1"}, {"A=2", "PYTHONPATH=/ours", "B=3"}) ==
        Words{"PATH=/opt/bin", "A=2", "PYTHONPATH=/ours:/app", "B=3"});
}

TEST_CASE("orders and images survive their JSON", "[container]") {
  const InsideOrder order{
      .argv = {"a", ""}, .environment = {"X=\n"}, .directory = "/w", .log = "/l", .via = "pty", .mask = 077};
  const auto back = inside_order_from_json(to_json(order));
  REQUIRE(back);
  CHECK(back->argv == order.argv);
  CHECK(back->environment == order.environment);
  CHECK(back->mask == 077);
  CHECK_FALSE(inside_order_from_json(Json::object()));
  CHECK_FALSE(inside_order_from_json(Json({{"argv", 1}})));
  const ContainerImage image{{EngineKind::docker, "/d"}, "n", "sha256:2", ""};
  const auto read = container_image_from_json(to_json(image));
  REQUIRE(read);
  CHECK(read->engine.kind == EngineKind::docker);
  CHECK(read->digest.empty());
  CHECK_FALSE(container_image_from_json(Json()));
}

}  // namespace trainctl::host
