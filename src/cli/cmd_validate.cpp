// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/launch.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "engine/plan_mapping.hpp"
#include "spec/kinds.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"
#include "spec/target_file.hpp"
#include "spec/validate.hpp"
#include "target/registry.hpp"
#include "trainctl/error.hpp"

namespace trainctl::cli {
namespace {

namespace fs = std::filesystem;

struct ValidateArguments {
  std::vector<std::string> files;
  LaunchArguments launch;
};

/// A file that names a place instead of describing a run. What comes through a pipe can be read only once: it is a run.
bool is_target_file(const std::string& file) {
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return false;
  const auto text = base::read_file(file, base::kMaxJsonBytes);
  if (!text) return false;
  Errors told_later;
  const auto document = base::parse_located(*text, file, told_later);
  const spec::SpecKind* kind = document ? spec::kind_of(document->value) : nullptr;
  return kind != nullptr && kind->type == "target";
}

Errors target_mistakes(const std::string& file) {
  const fs::path path = file;
  std::error_code ignored;
  const fs::path folder = fs::absolute(path, ignored).lexically_normal().parent_path();
  const auto folders = spec::TargetFolders::around(folder.parent_path());
  const bool project = folders.project && fs::equivalent(*folders.project, folder, ignored);
  const auto read = spec::read_target_file({path.stem().string(), path, project}, folders);
  return read ? Errors{} : read.error();
}

/// Every mistake of one file: what it says, and whether what it names is there.
Errors mistakes(const std::string& file, const LaunchArguments& arguments) {
  if (is_target_file(file)) return target_mistakes(file);
  spec::LoadOptions options = load_options(arguments);
  options.path = file;
  const auto run = spec::load_run(options);
  if (!run) return run.error();
  Errors errors = spec::check_files(run->config, run->base_directory, run->origins);
  if (const auto plan = engine::map_plan(*run); !plan)
    errors.insert(errors.end(), plan.error().begin(), plan.error().end());
  if (const auto target = target::resolve_target(run->config, run->base_directory); !target) {
    for (Error error : target.error()) {
      if (const spec::Origin* origin = spec::find_origin(run->origins, "/target"); origin != nullptr && !error.at)
        error.at = origin->at;
      errors.push_back(std::move(error));
    }
  }
  return errors;
}

int validate_action(Context& context, const ValidateArguments& arguments) {
  Errors all;
  for (const std::string& file : arguments.files) {
    const Errors errors = mistakes(file, arguments.launch);
    all.insert(all.end(), errors.begin(), errors.end());
    if (errors.empty() && !context.json)
      context.out.line(context.out.paint(Style::green, context.out.utf8() ? "✓" : "ok") + " " + printable(file));
  }
  if (all.empty()) {
    if (context.json) context.print({{"valid", true}, {"files", arguments.files}});
    return 0;
  }
  const int code = report(context, all);
  if (!context.json)
    context.err.line(std::to_string(all.size()) + (all.size() == 1 ? " error, " : " errors, ") + "nothing was started");
  return code;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<ValidateArguments>();
  app.add_option("file", arguments->files, "The files to check")->type_name("FILE")->required()->expected(1, 10000);
  app.add_option("--profile", arguments->launch.profile, "With this profile applied")->type_name("NAME");
  app.add_option("--set", arguments->launch.overrides.set, "With this field set")
      ->type_name("FIELD=VALUE")
      ->one_value_each();
  return [arguments](Context& context) { return validate_action(context, *arguments); };
}

}  // namespace

Command validate_command() {
  return {"validate", "Writing", "Check files; all mistakes at once, each with its place and what to do",
          false,      configure, Completes::file};
}

}  // namespace trainctl::cli
