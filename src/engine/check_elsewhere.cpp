// SPDX-License-Identifier: Apache-2.0
#include "engine/check_elsewhere.hpp"

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/json.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

bool is_of_the_host(const std::string& path) {
  return path.starts_with('/') || path.starts_with("~/") || path.find('/') == std::string::npos;
}

}  // namespace

Errors check_elsewhere(const spec::LoadedRun& run, const Json& definition) {
  Errors errors;
  const std::string target = definition.value("name", "");
  const auto need_host_path = [&](const std::string& pointer, const std::string& field, const std::string& path) {
    Error error{.code = Errc::invalid,
                .message = "\"" + path + "\" has to be on " + target + ", where nothing is known of the folders here"};
    if (const spec::Origin* origin = spec::find_origin(run.origins, pointer)) error.at = origin->at;
    error.field = field;
    error.hint = "write an absolute path of that machine, or \"~/…\"";
    errors.push_back(std::move(error));
  };
  if (run.config.in_place) {
    Error error{.code = Errc::invalid, .message = "only a run on this machine can use the source directory itself"};
    if (const spec::Origin* origin = spec::find_origin(run.origins, "/in_place")) error.at = origin->at;
    error.field = "in_place";
    error.hint = "remove it, or use \"target\": \"local\"";
    errors.push_back(std::move(error));
  }
  if (!run.config.environment) return errors;
  if (const auto& python = run.config.environment->python) {
    if (python->venv && (!is_of_the_host(*python->venv) || python->venv->find('/') == std::string::npos))
      need_host_path("/environment/python/venv", "environment.python.venv", *python->venv);
    if (python->interpreter && !is_of_the_host(*python->interpreter))
      need_host_path("/environment/python/interpreter", "environment.python.interpreter", *python->interpreter);
  }
  if (const auto& container = run.config.environment->container) {
    for (std::size_t i = 0; i < container->volumes.size(); ++i) {
      const std::string path = container->volumes[i].substr(0, container->volumes[i].find(':'));
      if (path.starts_with('/') || path.starts_with("~/")) continue;
      const std::string number = std::to_string(i);
      need_host_path("/environment/container/volumes/" + number, "environment.container.volumes[" + number + "]", path);
    }
  }
  return errors;
}

Result<> check_nodes(const spec::LoadedRun& run, const Json& definition) {
  const std::int64_t wanted = run.config.resources.nodes;
  if (wanted <= 1 || definition.value("launcher", "") == "slurm") return {};
  const std::string type = definition.value("type", "local");
  if (type == "scripted") return {};
  const std::size_t hosts = type == "ssh" && definition.contains("hosts") ? definition["hosts"].size() : 1;
  if (static_cast<std::size_t>(wanted) <= hosts) return {};
  const std::string name = definition.value("name", "local");
  return fail(Errc::cannot_start,
              "the run wants " + std::to_string(wanted) + " nodes, the target " + name + " is " +
                  (hosts == 1 ? "one machine" : std::to_string(hosts) + " machines"),
              type == "local" ? "set resources.nodes to 1"
                              : "lower resources.nodes, or name more \"hosts\" in the target's file");
}

}  // namespace trainctl::engine
