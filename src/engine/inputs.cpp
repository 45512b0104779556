// SPDX-License-Identifier: Apache-2.0
#include "engine/inputs.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "engine/elsewhere.hpp"
#include "engine/plan_mapping.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"
#include "spec/run_configuration.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kRun = "run:";
constexpr std::string_view kHost = "host:";
constexpr std::size_t kMostListed = 8;

/// What stands before the first colon of a source that is no path of this machine; empty for paths.
std::string_view scheme_of(std::string_view source) {
  const std::size_t colon = source.find(':');
  return colon == std::string_view::npos || colon > source.find('/') ? std::string_view() : source.substr(0, colon);
}

Error at_input(const spec::LoadedRun& run, const spec::Input& input, Error error) {
  if (const auto* origin = spec::find_origin(run.origins, base::pointer_append("/inputs", input.name) + "/source"))
    error.at = origin->at;
  error.field = "inputs." + input.name;
  return error;
}

std::string outputs_of(const format::Plan& plan, const fs::path& folder) {
  std::vector<std::string> names;
  for (const format::PlanOutput& output : plan.outputs) {
    if (base::exists(folder / output.path)) names.push_back(output.name);
  }
  for (const std::string& name : base::list_directory(folder).value_or(std::vector<std::string>{})) {
    const bool declared = std::any_of(plan.outputs.begin(), plan.outputs.end(),
                                      [&](const format::PlanOutput& output) { return output.path == name; });
    if (!declared) names.push_back(name);
  }
  if (names.empty()) return "it wrote none";
  const bool more = names.size() > kMostListed;
  if (more) names.resize(kMostListed);
  return "it has: " + base::join(names, ", ") + (more ? " …" : "");
}

/// An output of another run: where it is, here or on the target.
struct OutputPath {
  std::string path;
  bool there = false;
};

/// Of a run that lies on the target where it is wanted: nothing of it need be here, so its name is not checked.
OutputPath output_there(const std::string& id, const format::RunState& state, const std::string& relative) {
  const fs::path path = fs::path(Elsewhere::outputs_of(id, std::max(state.attempt, 1))) / relative;
  return {(relative.empty() ? path.parent_path() : path.lexically_normal()).string(), true};
}

/// "digits-42/model" → the path in the run's folder.
Result<OutputPath> output_path(const archive::Store& store, std::string_view written, const Elsewhere* elsewhere) {
  const std::size_t slash = written.find('/');
  const std::string_view wanted = slash == std::string_view::npos ? std::string_view() : written.substr(slash + 1);
  TRY_ASSIGN(const std::string id, store.resolve(written.substr(0, slash)));
  const format::RunPaths from = store.run(id);
  TRY_ASSIGN(const format::Plan plan, format::read_plan(from.plan()));
  TRY_ASSIGN(const format::RunState state, format::fold_run(from));
  if (!format::is_terminal(state.state)) {
    return fail(Errc::cannot_start, plan.name + " has not ended (" + std::string(format::to_string(state.state)) + ")",
                "trainctl wait " + plan.name);
  }
  const fs::path folder = from.attempt(std::max(state.attempt, 1)).outputs();
  std::string relative(wanted);
  for (const format::PlanOutput& output : plan.outputs) {
    if (output.name == wanted) relative = output.path;
  }
  const fs::path path = (folder / relative).lexically_normal();
  const bool inside = !path.lexically_relative(folder).string().starts_with("..");
  if (inside && elsewhere != nullptr && elsewhere->holds(plan)) return output_there(id, state, relative);
  if (inside && base::exists(path)) {
    return OutputPath{(path.has_filename() ? path : path.parent_path()).string(), false};
  }
  return fail(Errc::not_found, plan.name + " has no output \"" + std::string(wanted) + "\"", outputs_of(plan, folder));
}

Result<std::string> home_path(const std::string& source) {
  const auto home = base::get_env("HOME");
  if (!source.starts_with("~/") || !home || home->empty()) {
    return fail(Errc::invalid, "\"" + source + "\" names the home of somebody else", "write the whole path");
  }
  std::string path = *home + source.substr(1);
  if (base::exists(path)) return path;
  return fail(Errc::invalid, "\"" + source + "\" is not there", "looked for " + path);
}

}  // namespace

Errors check_inputs(const spec::LoadedRun& run) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kKnown = {{
      {"http", "a URL"},
      {"https", "a URL"},
      {"s3", "a URL"},
      {"data", "registered data"},
      {"model", "a registered model"},
  }};
  Errors errors;
  for (const spec::Input& input : run.config.inputs) {
    const std::string_view scheme = scheme_of(input.source);
    if (input.source.starts_with(kHost)) {
      if (input.source.size() > kHost.size() && input.source[kHost.size()] == '/') continue;
      errors.push_back(at_input(run, input,
                                {.code = Errc::invalid,
                                 .message = "\"" + input.source + "\" is no absolute path of the target",
                                 .hint = "\"host:/data/…\""}));
      continue;
    }
    const bool local = scheme.empty() || input.source.starts_with(kRun);
    if (local && input.mode == spec::InputMode::download) {
      errors.push_back(at_input(run, input,
                                {.code = Errc::invalid,
                                 .message = "\"" + input.source + "\" is on this machine, there is nothing to download",
                                 .hint = "\"mode\": \"link\" or \"copy\""}));
    }
    if (local) continue;
    std::string what = "a path of another machine";
    for (const auto& [word, meaning] : kKnown) {
      if (word == scheme) what = meaning;
    }
    errors.push_back(at_input(run, input,
                              {.code = Errc::invalid,
                               .message = "\"" + input.source + "\" is " + what +
                                          ", and this version only takes paths of this machine and outputs of runs",
                               .hint = "fetch it, then name the file; \"./" + input.source.substr(0, 40) +
                                       "\" for a file with a colon in its name"}));
  }
  return errors;
}

namespace {

Result<std::string> resolve_input(const archive::Store& store, const spec::LoadedRun& run, const std::string& source,
                                  Elsewhere* elsewhere) {
  if (source.starts_with(kHost)) return source.substr(kHost.size());
  std::string path = source;
  if (source.starts_with(kRun)) {
    TRY_ASSIGN(OutputPath output, output_path(store, std::string_view(source).substr(kRun.size()), elsewhere));
    if (output.there) return std::move(output.path);
    path = std::move(output.path);
  } else if (source.starts_with('~')) {
    TRY_ASSIGN(path, home_path(source));
  }
  return elsewhere == nullptr ? Result<std::string>(std::move(path))
                              : elsewhere->send(absolute_path(run.base_directory, path));
}

}  // namespace

Errors resolve_inputs(const archive::Store& store, spec::LoadedRun& run, Elsewhere* elsewhere) {
  Errors errors = check_inputs(run);
  if (!errors.empty()) return errors;
  for (spec::Input& input : run.config.inputs) {
    auto path = resolve_input(store, run, input.source, elsewhere);
    if (path) {
      input.source = std::move(*path);
    } else {
      errors.push_back(at_input(run, input, std::move(path).error()));
    }
  }
  return errors;
}

}  // namespace trainctl::engine
