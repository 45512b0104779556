// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "host/environment/request.hpp"
#include "host/launchers/slurm/commands.hpp"
#include "host/launchers/slurm/queue.hpp"
#include "host/linux/logout.hpp"
#include "host/resources/capacity.hpp"
#include "host/resources/gpu.hpp"
#include "host/stdio/operations.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"
#include "trainctl/version.hpp"

namespace trainctl::host {
namespace {

constexpr auto kProgramDeadline = std::chrono::seconds(3);

/// PRETTY_NAME of /etc/os-release (freedesktop.org, os-release(5)).
std::string os_name() {
  const auto text = base::read_file_if_exists("/etc/os-release", 1U << 20U);
  if (!text || !*text) return "Linux";
  for (const std::string& line : base::split(**text, '\n')) {
    if (!line.starts_with("PRETTY_NAME=")) continue;
    std::string name = line.substr(12);
    std::erase(name, '"');
    return name;
  }
  return "Linux";
}

/// "3.11.7" of an interpreter; empty when it does not answer.
std::string python_version(const std::filesystem::path& program) {
  base::Command command;
  command.argv = {program.string(), "--version"};
  command.deadline = kProgramDeadline;
  command.max_output = 4096;
  const auto output = base::run_command(command);
  if (!output || output->exit_code != 0) return {};
  const std::string text(base::trim(output->out));  // "Python 3.11.7"
  return text.starts_with("Python ") ? text.substr(7) : std::string();
}

Json pythons() {
  std::set<std::string> names = {"python3"};
  for (int minor = 8; minor <= 15; ++minor) names.insert("python3." + std::to_string(minor));
  Json found = Json::array();
  for (const std::string& name : names) {
    const auto program = base::find_program(name);
    if (!program) continue;
    const std::string version = python_version(*program);
    if (!version.empty()) found.push_back({{"path", program->string()}, {"version", version}});
  }
  return found;
}

Json programs() {
  Json found = Json::object();
  for (const char* name : {"bash", "sh", "uv", "git", "docker", "podman", "apptainer", "sbatch"}) {
    if (const auto program = base::find_program(name)) found[name] = program->string();
  }
  return found;
}

/// Does the engine answer? {"docker": {"version": "24.0.7"}, "podman": {"problem": "…"}}
Json engines() {
  Json found = Json::object();
  for (const auto& [name, format] : {std::pair("docker", "{{.Server.Version}}"), std::pair("podman", "{{.Version}}")}) {
    const auto program = base::find_program(name);
    if (!program) continue;
    base::Command command;
    command.argv = {program->string(), "version", "--format", format};
    command.deadline = kProgramDeadline;
    command.max_output = 4096;
    const auto output = base::run_command(command);
    const bool answers = output && output->exit_code == 0;
    const std::string said =
        output ? std::string(base::trim(answers ? output->out : output->err)) : output.error().message;
    found[name] = {{answers ? "version" : "problem", base::to_utf8(said.substr(0, said.find('\n')))}};
  }
  return found;
}

/// {"version": "22.05.8", "partitions": [{"name", "default", "up", "nodes", "time_limit"}]}, or {"problem": "…"}; null
/// where there is no sbatch.
Json slurm_cluster() {
  if (!base::find_program("sbatch")) return nullptr;
  const auto listed = slurm::run_slurm({"sinfo", "--noheader", "-o", slurm::kPartitionFormat}, kProgramDeadline);
  if (!listed) return {{"problem", listed.error().message}};
  if (listed->exit_code != 0) return {{"problem", base::to_utf8(base::trim(listed->err))}};
  Json cluster = {{"partitions", Json::array()}};
  for (const slurm::Partition& one : slurm::parse_partitions(listed->out)) {
    cluster["partitions"].push_back({{"name", one.name},
                                     {"default", one.is_default},
                                     {"up", one.up},
                                     {"nodes", one.nodes},
                                     {"time_limit", one.time_limit}});
  }
  const auto version = slurm::run_slurm({"sinfo", "--version"}, kProgramDeadline);
  const std::string words(version ? base::trim(version->out) : "");  // "slurm 22.05.8", on Debian "slurm-wlm 22.05.8"
  if (words.starts_with("slurm")) cluster["version"] = words.substr(words.rfind(' ') + 1);
  return cluster;
}

/// {"open_files": n, "processes": n}: what a process may have; null = no limit.
Json limits() {
  Json found = Json::object();
  for (const auto& [name, resource] : {std::pair("open_files", RLIMIT_NOFILE), std::pair("processes", RLIMIT_NPROC)}) {
    rlimit limit{};
    if (::getrlimit(resource, &limit) != 0) continue;
    found[name] = limit.rlim_cur == RLIM_INFINITY ? Json(nullptr) : Json(static_cast<std::uint64_t>(limit.rlim_cur));
  }
  return found;
}

void add_gpus(Json& reply) {
  reply["gpus"] = Json::array();
  const auto gpus = list_gpus(kProgramDeadline);
  if (!gpus) {
    reply["gpu_problem"] = gpus.error().message;
    return;
  }
  for (const Gpu& gpu : *gpus)
    reply["gpus"].push_back({{"index", gpu.index}, {"uuid", gpu.uuid}, {"name", gpu.name}, {"memory", gpu.memory}});
}

}  // namespace

Result<Json> operate_probe(const StdioContext& context, const Json&) {
  utsname system{};
  if (::uname(&system) != 0) return fail(Errc::io, "uname failed");
  const Capacity capacity = read_capacity();
  std::filesystem::path place = context.store;
  while (!place.empty() && place != place.root_path() && !base::exists(place)) place = place.parent_path();
  Json reply = {{"version", version()},
                {"os", os_name()},
                {"kernel", system.release},
                {"arch", system.machine},
                {"host", base::host_name()},
                {"user", base::user_name()},
                {"uid", static_cast<std::uint64_t>(::geteuid())},
                {"machine", base::machine_id()},
                {"boot", base::boot_id()},
                {"pidns", base::pid_namespace()},
                {"mono_ns", base::mono_ns()},
                {"time", base::format_utc(base::wall_now())},
                {"cpus", capacity.cpus},
                {"cpus_limit", capacity.cpus_limit},
                {"memory", capacity.memory},
                {"memory_limit", capacity.memory_limit},
                {"store", context.store.string()},
                {"disk_free", base::free_bytes(place)},
                {"network_file_system", base::is_network_file_system(place)},
                {"shell", base::get_env("SHELL").value_or("")},
                {"home", base::get_env("HOME").value_or("")},
                {"limits", limits()},
                {"gpu_driver", Platform::current().driver},
                {"python", pythons()},
                {"programs", programs()},
                {"engines", engines()}};
  if (Json cluster = slurm_cluster(); !cluster.is_null()) reply["slurm"] = std::move(cluster);
  add_gpus(reply);
  if (const auto kills = logout_kills(base::user_name())) reply["logout_kills"] = *kills;
  return reply;
}

}  // namespace trainctl::host
