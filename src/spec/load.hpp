// SPDX-License-Identifier: Apache-2.0
// From what a person wrote (a file, a script, a command, flags) to one run configuration with the origin of every
// value.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "spec/layer.hpp"
#include "spec/run_configuration.hpp"
#include "trainctl/result.hpp"

namespace trainctl::spec {

namespace fs = std::filesystem;

/// What flags change. They win over everything.
struct Overrides {
  std::vector<std::string> set = {};  ///< --set limits.timeout=2h, by the field's type; "null" takes the value away
  std::vector<std::string> parameters = {};  ///< -p lr=0.01
  std::vector<std::string> tags = {};        ///< --tag team=vision
  std::optional<std::string> target = {};
  std::optional<std::string> name = {};
  std::optional<std::string> experiment = {};
};

struct LoadOptions {
  fs::path path = {};  ///< the file, as the person wrote it; positions name it like this
  Overrides overrides = {};
  std::optional<std::string> profile = {};
  fs::path directory = ".";  ///< where a run without a file counts its paths from, and looks for the project
  bool use_project = true;   ///< look for trainctl.json from the base directory up to the git root
  std::optional<fs::path> trusted =
      {};  ///< TrustList of the projects that may define commands; see default_trust_list()
  std::optional<fs::path> user_config = {};  ///< see default_user_config(); a missing file is fine
  /// Defaults of a named target for runs of `base`, in canonical spelling with their origins; empty when it has none.
  std::function<std::optional<Layer>(const std::string& target, const fs::path& base)> target_defaults = {};
  /// Every mistake in metrics.patterns, with field metrics.patterns[i]: the layer that matches them knows.
  std::function<Errors(const std::vector<std::string>& patterns)> check_patterns = {};
};

/// What a run configuration was lowered from, to be shown beside it.
struct LoweredFrom {
  /// One field and where it went. `from` is a pointer into `written`, empty for what the preset adds; `to` leads into
  /// the run configuration.
  struct Field {
    std::string from;
    std::string to;
  };
  std::string framework;
  std::string version;  ///< empty: the framework has none
  std::string preset;   ///< "built in", or the preset's file
  Json written = Json::object();
  std::vector<Field> fields;
};

struct LoadedRun {
  RunConfiguration config;
  Json merged;              ///< what was written, all sources together, in canonical spelling; no built-in defaults;
                            ///< of an estimator: what it was lowered to
  Origins origins;          ///< by JSON pointer into `merged`
  fs::path base_directory;  ///< absolute; relative paths of the configuration count from here
  std::string file;         ///< as written; empty without a file
  std::string name;         ///< config.name, else made from the file, script, module or command
  std::optional<std::string> profile;
  std::vector<fs::path> sources;  ///< every file that was read
  std::vector<std::string> notes;
  std::optional<LoweredFrom> lowered_from = {};  ///< the file is an estimator
};

/// `trainctl submit digits.run.json`. All mistakes of all files in one go.
ResultAll<LoadedRun> load_run(const LoadOptions& options);

/// `trainctl run train.py --lr 0.1`: leading `--key value` pairs become parameters as long as they give back exactly
/// the same command line; the rest are arguments.
ResultAll<LoadedRun> run_from_script(const std::string& script, const std::vector<std::string>& arguments,
                                     const LoadOptions& options);

/// `trainctl run -- CMD ARG…`.
ResultAll<LoadedRun> run_from_command(const std::vector<std::string>& argv, const LoadOptions& options);

/// $XDG_CONFIG_HOME/trainctl/config.json, else ~/.config/trainctl/config.json.
std::optional<fs::path> default_user_config();

/// The trainctl.json that applies in `base`: its own, else the next one upwards to the root of the git repository.
std::optional<fs::path> find_project(const fs::path& base);

/// What a run may be called: letters, digits, "-", "_", ".", at most 63, a letter or digit first.
bool is_run_name(std::string_view text);

/// "error text --> file:line:col (hint)" on one line, with the field in front: what `trainctl validate` shows.
std::string describe(const Error& error);

}  // namespace trainctl::spec
