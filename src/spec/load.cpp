// SPDX-License-Identifier: Apache-2.0
#include "spec/load.hpp"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "spec/estimator_preset.hpp"
#include "spec/kinds.hpp"
#include "spec/layer.hpp"
#include "spec/overrides.hpp"
#include "spec/run_configuration.hpp"
#include "spec/run_tables.hpp"
#include "spec/sources.hpp"
#include "spec/target.hpp"
#include "spec/validate.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::spec {
namespace {

/// "profiles" of all files together, then the chosen one; `null` when there is none of that name.
std::optional<Layer> choose_profile(const Layer& below, const LoadOptions& options, Errors& errors) {
  if (!options.profile) return std::nullopt;
  const std::string pointer = base::pointer_append("/profiles", *options.profile);
  if (auto found = extract(below, pointer, Origin::Kind::profile, "profile " + *options.profile)) return found;
  std::vector<std::string> names;
  if (const auto all = below.value.find("profiles"); all != below.value.end() && all->is_object()) {
    for (const auto& entry : all->items()) names.push_back(entry.key());
  }
  const std::vector<std::string_view> views(names.begin(), names.end());
  Error error{.code = Errc::invalid, .message = "there is no profile \"" + *options.profile + "\""};
  if (const auto near = base::suggest(*options.profile, views)) error.message += ", did you mean \"" + *near + "\"?";
  error.hint = names.empty() ? "no file defines \"profiles\"" : "there are: " + base::join(names, ", ");
  errors.push_back(std::move(error));
  return std::nullopt;
}

std::string clean_name(std::string_view text) {
  std::string name;
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
  for (const char c : text) {
    const bool plain = kPlain.find(c) != std::string_view::npos;
    if (plain && !(name.empty() && (c == '_' || c == '.'))) {
      name.push_back(c);
    } else if (!name.empty() && name.back() != '-') {
      name.push_back('-');
    }
  }
  name.resize(std::min<std::size_t>(name.size(), 63));
  while (!name.empty() && (name.back() == '-' || name.back() == '.')) name.pop_back();
  return name.empty() ? "run" : name;
}

/// digits.run.json → digits, pkg/train.py → train, ["python", "x.py"] → python.
std::string made_name(const RunConfiguration& config, const std::string& file) {
  if (config.name) return *config.name;
  if (!file.empty()) {
    std::string stem = fs::path(file).filename().string();
    for (const char* ending : {".json", ".jsonc", ".run", ".estimator"}) {
      const std::string_view tail(ending);
      if (stem.size() > tail.size() && stem.ends_with(tail)) stem.resize(stem.size() - tail.size());
    }
    return clean_name(stem);
  }
  if (config.script) return clean_name(fs::path(*config.script).stem().string());
  if (config.module) return clean_name(config.module->substr(config.module->rfind('.') + 1));
  if (const auto* argv = config.command ? std::get_if<std::vector<std::string>>(&*config.command) : nullptr) {
    return clean_name(fs::path(argv->front()).filename().string());
  }
  return "run";
}

struct Stack {
  const SpecKind* kind = &run_kind();
  std::vector<Layer> own = {};  ///< the file and what it extends, or the command line; the lowest first
  std::string file = {};
  fs::path base;  ///< as written, maybe relative
};

/// Everything below the profile and the flags, lowest first: target's defaults come in later, when the target is known.
Layer merge_below(Stack& stack, Sources& sources) {
  Layer below;
  if (auto user = sources.user()) merge(below, *user);
  if (auto project = sources.project(stack.base)) merge(below, *project);
  for (const Layer& layer : stack.own) merge(below, layer);
  return below;
}

/// What the highest level that names a target calls it; a target without a name goes by its host.
std::string target_name(std::initializer_list<const Json*> levels) {
  for (const Json* level : levels) {
    if (level == nullptr || !level->is_object() || !level->contains("target")) continue;
    const Json& target = level->at("target");
    if (target.is_object()) return unnamed_target_name(read_target(target));
    if (target.is_string() && !target.get_ref<const std::string&>().empty()) return target.get<std::string>();
  }
  return "local";
}

void check_patterns(const LoadOptions& options, const RunConfiguration& config, const Origins& origins,
                    Errors& errors) {
  if (!options.check_patterns) return;
  for (Error& mistake : options.check_patterns(config.metrics.patterns)) {
    const auto told = [&](const Error& error) { return error.field == mistake.field; };
    if (std::any_of(errors.begin(), errors.end(), told)) continue;
    std::string pointer = "/metrics/patterns";
    const std::size_t open = mistake.field.find('[');
    if (open != std::string::npos && mistake.field.ends_with(']'))
      pointer += "/" + mistake.field.substr(open + 1, mistake.field.size() - open - 2);
    if (const Origin* origin = find_origin(origins, pointer)) mistake.at = origin->at;
    errors.push_back(std::move(mistake));
  }
}

ResultAll<LoadedRun> compose(Stack stack, Sources& sources, const LoadOptions& options, Errors& errors) {
  Layer below = merge_below(stack, sources);
  const auto profile = choose_profile(below, options, errors);
  const Layer flags = override_layer(options.overrides, stack.kind->fragment(), errors);
  const std::string target = target_name({&flags.value, profile ? &profile->value : nullptr, &below.value});
  const auto on = extract(below, base::pointer_append("/on", target), Origin::Kind::on_target, "on " + target);
  remove_key(below, "profiles");
  remove_key(below, "on");

  Layer merged;
  if (options.target_defaults) merged = options.target_defaults(target, stack.base).value_or(Layer());
  merge(merged, below);
  if (on) {
    Layer part = *on;
    remove_key(part, "target");  // it is this target already
    merge(merged, part);
  }
  if (profile) merge(merged, *profile);
  merge(merged, flags);

  LoadedRun run;
  if (stack.kind->lower != nullptr) {
    const LowerPlaces places{.base = stack.base, .presets = preset_folders(stack.base, options.user_config)};
    merged = stack.kind->lower(std::move(merged), places, run, errors);
  }
  read_run_configuration(merged.value, run.config);
  if (!run.config.target_object) run.config.target = target;
  // A field that could not be read has its default now: what that would contradict is no mistake of the person.
  const auto unread = [&errors, count = errors.size()](const std::string& field) {
    return std::any_of(errors.begin(), errors.begin() + static_cast<std::ptrdiff_t>(count),
                       [&](const Error& error) { return !field.empty() && error.field == field; });
  };
  for (Error& error : validate(run.config, merged.origins, errors.empty())) {
    if (!unread(error.field)) errors.push_back(std::move(error));
  }
  check_patterns(options, run.config, merged.origins, errors);
  if (!errors.empty()) return tl::make_unexpected(std::move(errors));
  run.merged = std::move(merged.value);
  run.origins = std::move(merged.origins);
  run.base_directory = fs::absolute(stack.base).lexically_normal();
  run.file = stack.file;
  run.name = made_name(run.config, stack.file);
  run.profile = options.profile;
  run.sources = sources.read_files();
  run.notes.insert(run.notes.begin(), sources.notes().begin(), sources.notes().end());
  return run;
}

/// A layer for what stands on the command line itself.
Layer command_line_layer(Json value, const std::string& label) {
  Layer layer{.value = std::move(value), .origins = {}};
  for (const auto& entry : layer.value.items()) {
    layer.origins.emplace(base::pointer_append("", entry.key()), Origin{.kind = Origin::Kind::file, .label = label});
  }
  return layer;
}

}  // namespace

namespace {

/// What a program's file is called; empty for all that may be a configuration.
std::optional<std::string_view> program_kind(const fs::path& path) {
  const std::string ending = path.extension().string();
  if (ending == ".py") return "a Python script";
  if (ending == ".sh" || ending == ".R" || ending == ".jl") return "a script";
  if (ending == ".ipynb") return "a notebook";
  return std::nullopt;
}

}  // namespace

ResultAll<LoadedRun> load_run(const LoadOptions& options) {
  Errors errors;
  if (const auto program = program_kind(options.path)) {
    errors.push_back({.code = Errc::invalid,
                      .message = options.path.string() + " is " + std::string(*program) + ", not a run configuration",
                      .hint = *program == "a Python script" ? "trainctl run " + base::shell_quote(options.path.string())
                                                            : "trainctl run -- CMD ARG…"});
    return tl::make_unexpected(std::move(errors));
  }
  Sources sources(options, errors);
  SpecFiles files = sources.spec_file(options.path);
  if (files.kind == nullptr) return tl::make_unexpected(std::move(errors));
  Stack stack{.kind = files.kind,
              .own = std::move(files.layers),
              .file = options.path.string(),
              .base = options.path.parent_path()};
  // What comes through a pipe ("<(…)", /dev/stdin) lies where its reader stands.
  if (stack.base.empty() || options.path.string().starts_with("/dev/")) stack.base = ".";
  return compose(std::move(stack), sources, options, errors);
}

ResultAll<LoadedRun> run_from_script(const std::string& script, const std::vector<std::string>& arguments,
                                     const LoadOptions& options) {
  Errors errors;
  Sources sources(options, errors);
  fs::path path = fs::path(script).lexically_normal();
  Json value = Json::object();
  // A script outside the folder we stand in brings its own source directory.
  if (path.is_absolute() || *path.begin() == "..") {
    const fs::path relative = path.lexically_relative(fs::absolute(options.directory).lexically_normal());
    if (path.is_absolute() && !relative.empty() && *relative.begin() != "..") {
      path = relative;
    } else {
      value["source_directory"] = path.parent_path().string();
      path = path.filename();
    }
  }
  value["script"] = path.string();
  ScriptArguments split = split_script_arguments(arguments);
  if (!split.parameters.empty()) {
    value["parameters"] = std::move(split.parameters);
    value["parameter_style"] = split.style;
  }
  if (!split.rest.empty()) {
    for (std::string& word : split.rest) {  // what was typed is meant as typed
      for (std::size_t at = word.find("${{"); at != std::string::npos; at = word.find("${{", at + 4))
        word.insert(at, "$");
    }
    value["arguments"] = split.rest;
  }
  Stack stack{.base = options.directory};
  stack.own.push_back(command_line_layer(std::move(value), "command line"));
  return compose(std::move(stack), sources, options, errors);
}

ResultAll<LoadedRun> run_from_command(const std::vector<std::string>& argv, const LoadOptions& options) {
  Errors errors;
  Sources sources(options, errors);
  Json words = Json::array();
  for (std::string word : argv) {
    for (std::size_t at = word.find("${{"); at != std::string::npos; at = word.find("${{", at + 4))
      word.insert(at, "$");
    words.push_back(std::move(word));
  }
  if (words.empty()) {
    errors.push_back({.code = Errc::invalid, .message = "there is no command", .hint = "trainctl run -- CMD ARG…"});
    return tl::make_unexpected(std::move(errors));
  }
  Stack stack{.base = options.directory};
  stack.own.push_back(command_line_layer(Json{{"command", std::move(words)}}, "command line"));
  return compose(std::move(stack), sources, options, errors);
}

std::optional<fs::path> default_user_config() {
  if (const auto xdg = base::get_env("XDG_CONFIG_HOME"); xdg && xdg->starts_with('/')) {
    return fs::path(*xdg) / "trainctl" / "config.json";
  }
  const auto home = base::get_env("HOME");
  if (!home || home->empty()) return std::nullopt;
  return fs::path(*home) / ".config" / "trainctl" / "config.json";
}

bool is_run_name(std::string_view text) {
  return !text.empty() && text.size() <= 63 && text.front() != '-' && clean_name(text) == text;
}

std::string describe(const Error& error) {
  const bool told = error.field.empty() || error.message.starts_with('-') ||
                    error.message.find('"' + error.field + '"') != std::string::npos;
  std::string text = told ? error.message : error.field + ": " + error.message;
  if (error.at) {
    text += "   --> " + error.at->file + ":" + std::to_string(error.at->line) + ":" + std::to_string(error.at->column);
  }
  if (!error.hint.empty()) text += "   (" + error.hint + ")";
  return text;
}

}  // namespace trainctl::spec
