// SPDX-License-Identifier: Apache-2.0
#include "cli/explain_container.hpp"

#include <unistd.h>

#include <string>
#include <vector>

#include "base/process.hpp"
#include "format/plan.hpp"
#include "host/container/engine.hpp"

namespace trainctl::cli {

std::vector<std::string> container_command(const format::Plan& plan, const std::vector<std::string>& command) {
  if (!plan.container) return {};
  const std::string& wanted = plan.container->engine;
  const bool docker = wanted == "docker" || (wanted.empty() && !base::find_program("podman"));
  const host::ContainerEngine engine{docker ? host::EngineKind::docker : host::EngineKind::podman,
                                     docker ? "docker" : "podman"};
  host::ContainerRun run{.name = host::container_name("$RUN_ID", 1, 0),
                         .image = plan.container->image.empty() ? "$IMAGE" : plan.container->image,
                         .run_id = "$RUN_ID",
                         .user = ::geteuid(),
                         .group = ::getegid(),
                         .runner = "trainctl-runner",
                         .mounts = {{"$RUN", true}},
                         .gpus = {}};
  if (plan.in_place()) run.mounts.push_back({plan.source.value("directory", "."), true});
  for (const format::PlanInput& input : plan.inputs) {
    if (!input.is_copied()) run.mounts.push_back({input.path, false});
  }
  std::vector<std::string> argv = host::run_command(engine, plan, run);
  argv.insert(argv.end(), command.begin(), command.end());
  return argv;
}

}  // namespace trainctl::cli
