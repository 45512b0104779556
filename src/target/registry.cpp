// SPDX-License-Identifier: Apache-2.0
#include "target/registry.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "spec/layer.hpp"
#include "spec/run_configuration.hpp"
#include "spec/target.hpp"
#include "spec/target_file.hpp"
#include "target/host/gang_target.hpp"
#include "target/host/host_link.hpp"
#include "target/host/host_target.hpp"
#include "target/host/local_channel.hpp"
#include "target/local.hpp"
#include "target/scripted/scenario.hpp"
#include "target/scripted/scripted.hpp"
#include "target/ssh/destination.hpp"
#include "target/ssh/ssh_channel.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kScripted = "scripted:";

struct Kind {
  TargetKind shown;
  bool (*matches)(std::string_view name);
  ResultAll<Json> (*resolve)(std::string_view name, const fs::path& directory);
  Result<std::unique_ptr<Target>> (*open)(const Json& definition, const fs::path& store);
};

ResultAll<Json> resolve_local(std::string_view name, const fs::path&) {
  return Json{{"name", name}, {"type", "local"}};
}

Result<std::unique_ptr<Target>> open_local(const Json&, const fs::path&) {
  return std::make_unique<LocalTarget>();
}

ResultAll<Json> resolve_scripted(std::string_view name, const fs::path& directory) {
  const fs::path file = directory / name.substr(kScripted.size());
  auto text = base::read_file(file, base::kMaxJsonBytes);
  if (!text) return tl::make_unexpected(Errors{std::move(text).error()});
  // The scenario goes into the plan: what a run was must not depend on a file that changes.
  if (auto scenario = parse_scenario(*text, file.string()); !scenario)
    return tl::make_unexpected(std::move(scenario).error());
  auto document = base::parse_located(*text, file.string());
  if (!document) return tl::make_unexpected(std::move(document).error());
  return Json{{"name", name}, {"type", "scripted"}, {"scenario", std::move(document->value)}};
}

Result<std::unique_ptr<Target>> open_scripted(const Json& definition, const fs::path& store) {
  const Json document = definition.value("scenario", Json::object());
  TRY_ASSIGN(auto scenario, scenario_from_json(document));
  return std::make_unique<ScriptedTarget>(document, std::move(scenario), store / "scripted");
}

/// user@host, or a name that ssh or the resolver knows. A word that nobody knows is a misspelt target.
bool is_ssh_host(std::string_view name) {
  if (!parse_destination(name)) return false;
  return name.find('@') != std::string_view::npos || is_known_host(std::string(name));
}

ResultAll<Json> resolve_ssh(std::string_view name, const fs::path&) {
  return Json{{"name", name}, {"type", "ssh"}, {"hosts", {name}}};
}

Result<std::shared_ptr<HostLink>> open_link(const Json& definition) {
  TRY_ASSIGN(auto channel, SshChannel::from_definition(definition));
  Json key = definition;
  key.erase("name");  // two names of one host are one connection
  key.erase("addresses");
  key.erase("slurm");
  return HostLink::shared(base::dump_json(key), [&channel] { return channel; });
}

Result<std::unique_ptr<Target>> open_ssh(const Json& definition, const fs::path&) {
  const std::string name = definition.value("name", "");
  std::vector<std::shared_ptr<HostLink>> links;
  for (const Json& host : definition.value("hosts", Json::array())) {
    Json alone = definition;
    alone["hosts"] = {host};
    TRY_ASSIGN(auto link, open_link(alone));
    links.push_back(std::move(link));
  }
  if (links.empty()) return fail(Errc::store, "the definition of the target " + name + " has no \"hosts\"");
  if (links.size() == 1) return std::make_unique<HostTarget>(name, links.front());
  return std::make_unique<GangTarget>(name, std::move(links),
                                      definition.value("addresses", std::vector<std::string>{}));
}

ResultAll<Json> resolve_slurm(std::string_view name, const fs::path&) {
  return Json{{"name", name}, {"type", "slurm"}, {"launcher", "slurm"}};
}

/// Compute nodes see the home folder, not always the user's store: jobs live in a folder of their own, as on a login
/// node behind ssh.
Result<std::unique_ptr<Target>> open_slurm(const Json& definition, const fs::path&) {
  std::string directory = definition.value("directory", "~/.trainctl");
  if (directory == "~" || directory.starts_with("~/")) {
    const auto home = base::get_env("HOME");
    if (!home || home->empty()) return fail(Errc::cannot_start, "HOME is not set, and the target's directory is in it");
    directory = *home + directory.substr(1);
  }
  return std::make_unique<HostTarget>(definition.value("name", ""), HostLink::shared("slurm:" + directory, [directory] {
                                        return std::make_unique<LocalChannel>(directory);
                                      }));
}

constexpr std::array kKinds = {
    Kind{{"local", "local", "this machine"},
         [](std::string_view name) { return name == "local"; },
         resolve_local,
         open_local},
    Kind{{"scripted", "scripted:FILE", "plays a scenario, runs nothing (tests and demos)"},
         [](std::string_view name) { return name.starts_with(kScripted); },
         resolve_scripted,
         open_scripted},
    Kind{{"slurm", "slurm", "Slurm on this machine: each run is a job"},
         [](std::string_view name) { return name == "slurm"; },
         resolve_slurm,
         open_slurm},
    Kind{{"ssh", "USER@HOST", "a host behind ssh, or an alias of your ssh_config; nothing is installed there"},
         is_ssh_host,
         resolve_ssh,
         open_ssh},
};

const Kind* kind_of_type(std::string_view type) {
  const auto* found =
      std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& kind) { return kind.shown.type == type; });
  return found == kKinds.end() ? nullptr : found;
}

/// What is written in a target file, or in a run instead of a name, as a definition.
ResultAll<Json> define(std::string_view name, const spec::TargetSpec& target, const fs::path& directory) {
  Json definition = spec::target_definition(name, target);
  const std::string type = definition.value("type", "");
  if (kind_of_type(type) == nullptr) {
    return tl::make_unexpected(
        Errors{Error{.code = Errc::invalid, .message = "this version does not run on targets of kind " + type}});
  }
  for (const std::string& host : definition.value("hosts", std::vector<std::string>{})) {
    if (auto destination = parse_destination(host); !destination)
      return tl::make_unexpected(Errors{std::move(destination).error()});
  }
  if (target.ssh_config) definition["ssh_config"] = (directory / *target.ssh_config).lexically_normal().string();
  if (!target.scenario) return definition;
  auto played = resolve_scripted(std::string(kScripted) + *target.scenario, directory);
  if (played) (*played)["name"] = name;
  return played;
}

Error unknown_target(std::string_view name, const fs::path& directory) {
  Error unknown{.code = Errc::not_found, .message = "there is no target \"" + std::string(name) + "\""};
  unknown.field = "target";
  std::vector<std::string> names = {"local"};
  for (auto& place : spec::list_target_files(spec::TargetFolders::around(directory)))
    names.push_back(std::move(place.name));
  const std::vector<std::string_view> views(names.begin(), names.end());
  if (const auto near = base::suggest(name, views)) unknown.message += ", did you mean \"" + *near + "\"?";
  names.erase(names.begin());
  for (const Kind& kind : kKinds) names.emplace_back(kind.shown.form);
  unknown.hint = "there are: " + base::join(names, ", ");
  return unknown;
}

}  // namespace

std::span<const TargetKind> target_kinds() {
  static const std::array<TargetKind, kKinds.size()> shown = [] {
    std::array<TargetKind, kKinds.size()> all{};
    std::transform(kKinds.begin(), kKinds.end(), all.begin(), [](const Kind& kind) { return kind.shown; });
    return all;
  }();
  return shown;
}

ResultAll<Json> resolve_target(std::string_view name, const fs::path& directory) {
  const auto folders = spec::TargetFolders::around(directory);
  if (const auto place = spec::find_target_file(folders, name)) {
    auto file = spec::read_target_file(*place, folders);
    if (!file) return tl::make_unexpected(std::move(file).error());
    return define(name, file->target, place->file.parent_path());
  }
  for (const Kind& kind : kKinds) {
    if (kind.matches(name)) return kind.resolve(name, directory);
  }
  return tl::make_unexpected(Errors{unknown_target(name, directory)});
}

ResultAll<Json> resolve_target(const spec::RunConfiguration& run, const fs::path& directory) {
  if (!run.target_object) return resolve_target(run.target, directory);
  return define(run.target, spec::read_target(*run.target_object), directory);
}

std::optional<spec::Layer> target_defaults(std::string_view name, const fs::path& directory) {
  const auto folders = spec::TargetFolders::around(directory);
  const auto place = spec::find_target_file(folders, name);
  if (!place) return std::nullopt;
  auto file = spec::read_target_file(*place, folders);
  if (!file) return std::nullopt;
  return std::move(file->defaults);
}

std::string anchor_target(std::string_view name, const fs::path& directory) {
  if (!name.starts_with(kScripted)) return std::string(name);
  return std::string(kScripted) + (directory / name.substr(kScripted.size())).lexically_normal().string();
}

Result<std::unique_ptr<Target>> open_target(const Json& definition, const fs::path& store) {
  // Plans of the first version had no definition: they were all local.
  const std::string type = definition.is_object() ? definition.value("type", "local") : "local";
  if (const Kind* kind = kind_of_type(type)) return kind->open(definition, store);
  return fail(Errc::store, "this version does not know targets of type \"" + type + "\"", "upgrade trainctl");
}

}  // namespace trainctl::target
