// SPDX-License-Identifier: Apache-2.0
// docker and podman: which one there is, and the command lines that we give them. Both understand the same words but
// for whose user is inside.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "format/plan.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

enum class EngineKind { docker, podman };

struct ContainerEngine {
  EngineKind kind = EngineKind::podman;
  std::string path = "podman";
};

/// The one that is asked for ("docker", "podman"), else docker when its daemon answers, else podman. Errc::cannot_start
/// with what to install or to start.
Result<ContainerEngine> find_engine(const std::string& wanted);

/// Where the runner lies in the container.
inline constexpr const char* kRunnerInside = "/.trainctl-runner";

/// A folder or file of the host, at the same path inside.
struct Mount {
  std::string path;
  bool writable = false;
};

/// What `run` needs beside the plan.
struct ContainerRun {
  std::string name;   ///< trainctl-<ulid>-<attempt>-<rank>
  std::string image;  ///< by its id, so that it is the one that was recorded
  std::string run_id;
  int attempt = 1;
  int rank = 0;
  uid_t user = 0;
  gid_t group = 0;
  std::string runner;         ///< the static program, on the host
  std::vector<Mount> mounts;  ///< the run's folder, inputs
  std::vector<int> gpus;      ///< by their numbers on the host
};

/// `docker run …` up to the words for the runner inside. Pure.
std::vector<std::string> run_command(const ContainerEngine& engine, const format::Plan& plan, const ContainerRun& run);
/// Sends a signal to what runs in the container; ends it and removes all that is left of it.
std::vector<std::string> kill_command(const ContainerEngine& engine, const std::string& name, int signal);
std::vector<std::string> remove_command(const ContainerEngine& engine, const std::vector<std::string>& names);

/// Whether the container is in the network of the host: where it is not, nothing of 127.0.0.1 can be reached.
bool is_in_host_network(const format::PlanContainer& container);

std::string container_name(const std::string& run_id, int attempt, int rank);

/// trainctl-runner: this program itself, or the one beside it. Errc::cannot_start when there is none.
Result<std::filesystem::path> runner_program();

}  // namespace trainctl::host
