// SPDX-License-Identifier: Apache-2.0
#include "host/container/engine.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/file.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "format/plan.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::chrono::seconds kPatience{10};

/// The first line of what a tool says about itself; an error when it does not work.
Result<std::string> ask(const std::string& program, std::vector<std::string> words) {
  words.insert(words.begin(), program);
  TRY_ASSIGN(const auto answer, base::run_command({.argv = words, .deadline = kPatience}));
  const std::string_view told = base::trim(answer.exit_code == 0 ? answer.out : answer.err);
  if (answer.exit_code != 0) return fail(Errc::cannot_start, std::string(told.substr(0, told.find('\n'))));
  return std::string(told);
}

/// docker may be podman in disguise, and its client may have no daemon to talk to.
Result<ContainerEngine> try_docker() {
  const auto path = base::find_program("docker");
  if (!path) return fail(Errc::cannot_start, "there is no docker on PATH");
  const auto version = ask(*path, {"--version"});
  if (version && base::to_lower(*version).find("podman") != std::string::npos)
    return ContainerEngine{EngineKind::podman, path->string()};
  if (const auto server = ask(*path, {"version", "--format", "{{.Server.Version}}"}); !server)
    return fail(Errc::cannot_start, "docker does not answer: " + server.error().message);
  return ContainerEngine{EngineKind::docker, path->string()};
}

Result<ContainerEngine> try_podman() {
  const auto path = base::find_program("podman");
  if (!path) return fail(Errc::cannot_start, "there is no podman on PATH");
  if (const auto version = ask(*path, {"--version"}); !version)
    return fail(Errc::cannot_start, "podman does not work: " + version.error().message);
  return ContainerEngine{EngineKind::podman, path->string()};
}

bool gives(const std::vector<std::string>& arguments, std::string_view option) {
  return std::any_of(arguments.begin(), arguments.end(), [&](const std::string& word) {
    return word == option || (word.starts_with(option) && word[option.size()] == '=');
  });
}

void add_identity(const ContainerEngine& engine, const ContainerRun& run, std::vector<std::string>& argv) {
  // Rootless podman maps the user to root unless told otherwise: files would belong to somebody else inside.
  if (engine.kind == EngineKind::podman && run.user != 0) argv.emplace_back("--userns=keep-id");
  argv.push_back("--user=" + std::to_string(run.user) + ":" + std::to_string(run.group));
}

void add_gpus(const ContainerEngine& engine, const format::PlanContainer& container, const ContainerRun& run,
              std::vector<std::string>& argv) {
  if (!container.gpus) return;
  if (engine.kind == EngineKind::podman) {
    if (run.gpus.empty()) argv.emplace_back("--device=nvidia.com/gpu=all");
    for (const int gpu : run.gpus) argv.push_back("--device=nvidia.com/gpu=" + std::to_string(gpu));
    return;
  }
  std::string list;
  for (const int gpu : run.gpus) list += (list.empty() ? "" : ",") + std::to_string(gpu);
  argv.push_back(list.empty() ? "--gpus=all" : "--gpus=\"device=" + list + "\"");
}

std::string mount_option(const std::string& source, const std::string& target, bool writable) {
  // The value is a line of CSV.
  const auto cell = [](const std::string& text) {
    return text.find(',') == std::string::npos ? text : "\"" + text + "\"";
  };
  return "--mount=type=bind," + cell("source=" + source) + "," + cell("target=" + target) +
         (writable ? "" : ",ro=true");
}

}  // namespace

Result<ContainerEngine> find_engine(const std::string& wanted) {
  auto docker = wanted == "podman" ? Result<ContainerEngine>(fail(Errc::cannot_start, "")) : try_docker();
  if (docker) return docker;
  auto podman = wanted == "docker" ? Result<ContainerEngine>(fail(Errc::cannot_start, "")) : try_podman();
  if (podman) return podman;
  std::string why = docker.error().message;
  if (!podman.error().message.empty()) why += (why.empty() ? "" : ", ") + podman.error().message;
  return fail(Errc::cannot_start, "no program can run the container: " + why,
              "install podman, or start the docker daemon; or remove environment.container");
}

std::vector<std::string> run_command(const ContainerEngine& engine, const format::Plan& plan, const ContainerRun& run) {
  const format::PlanContainer& container = plan.container.value();
  std::vector<std::string> argv = {engine.path, "run", "--rm", "--interactive", "--sig-proxy=false", "--pull=never"};
  argv.push_back("--name=" + run.name);
  argv.push_back("--label=trainctl.run=" + run.run_id);
  argv.push_back("--label=trainctl.attempt=" + std::to_string(run.attempt));
  argv.push_back("--label=trainctl.rank=" + std::to_string(run.rank));
  if (!gives(container.arguments, "--log-driver")) argv.emplace_back("--log-driver=none");  // the log is ours
  add_identity(engine, run, argv);
  // Ranks meet at addresses of the host, and the MLflow endpoint listens there.
  if (is_in_host_network(container)) argv.emplace_back("--network=host");
  if (container.shm_size) {
    argv.push_back("--shm-size=" + std::to_string(*container.shm_size) + "b");
  } else if (!gives(container.arguments, "--ipc") && !gives(container.arguments, "--shm-size")) {
    argv.emplace_back("--ipc=host");  // 64 MB of /dev/shm, the default, are too few for data loaders
  }
  if (plan.resources.memory) argv.push_back("--memory=" + std::to_string(*plan.resources.memory) + "b");
  add_gpus(engine, container, run, argv);
  if (base::exists("/sys/fs/selinux/enforce")) argv.emplace_back("--security-opt=label=disable");
  for (const Mount& mount : run.mounts) argv.push_back(mount_option(mount.path, mount.path, mount.writable));
  argv.push_back(mount_option(run.runner, kRunnerInside, false));
  for (const std::string& one : container.volumes) argv.push_back("--volume=" + one);
  argv.emplace_back("--workdir=/");
  argv.push_back(std::string("--entrypoint=") + kRunnerInside);
  argv.insert(argv.end(), container.arguments.begin(), container.arguments.end());
  argv.push_back(run.image);
  return argv;
}

std::vector<std::string> kill_command(const ContainerEngine& engine, const std::string& name, int signal) {
  return {engine.path, "kill", "--signal=" + std::to_string(signal), name};
}

std::vector<std::string> remove_command(const ContainerEngine& engine, const std::vector<std::string>& names) {
  std::vector<std::string> argv = {engine.path, "rm", "--force"};
  if (engine.kind == EngineKind::podman) {
    argv.emplace_back("--time=0");
    argv.emplace_back("--ignore");
  }
  argv.insert(argv.end(), names.begin(), names.end());
  return argv;
}

bool is_in_host_network(const format::PlanContainer& container) {
  return !gives(container.arguments, "--network") && !gives(container.arguments, "--net");
}

std::string container_name(const std::string& run_id, int attempt, int rank) {
  return "trainctl-" + run_id + "-" + std::to_string(attempt) + "-" + std::to_string(rank);
}

Result<std::filesystem::path> runner_program() {
  std::error_code problem;
  std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", problem);
  if (problem) return fail(Errc::cannot_start, "cannot tell where this program lies: " + problem.message());
  // On a host it has its hash in its name.
  if (self.filename().string().starts_with("trainctl-runner") && base::exists(self)) return self;
  std::filesystem::path runner = self.parent_path() / "trainctl-runner";
  if (base::exists(runner)) return runner;
  return fail(Errc::cannot_start, "there is no trainctl-runner beside " + self.string(),
              "containers need it: install both programs in one folder");
}

}  // namespace trainctl::host
