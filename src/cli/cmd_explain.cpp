// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>

#include "archive/store.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/explain.hpp"
#include "cli/launch.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "spec/load.hpp"

namespace trainctl::cli {
namespace {

struct ExplainArguments {
  std::string file;
  std::string format = "text";
  bool origin = false;
  LaunchArguments launch;
};

int explain_action(Context& context, const ExplainArguments& arguments) {
  spec::LoadOptions options = load_options(arguments.launch);
  options.path = arguments.file;
  const auto run = spec::load_run(options);
  if (!run) return report(context, run.error());
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  if (arguments.format == "json") context.json = true;
  return explain(context, *store, *run, {.origin = arguments.origin, .script = arguments.format == "sh"});
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<ExplainArguments>();
  app.add_option("file", arguments->file, "The run configuration")->type_name("FILE")->required();
  app.add_option("--format", arguments->format, "text, json, or sh: a script that does the same without trainctl")
      ->type_name("FORMAT")
      ->one_of({"text", "json", "sh"});
  app.add_flag("--origin", arguments->origin, "Say of each value where it came from");
  app.add_option("-t,--target", arguments->launch.overrides.target, "As on this target")->type_name("TARGET");
  app.add_option("-p,--param", arguments->launch.overrides.parameters, "With this parameter")
      ->type_name("KEY=VALUE")
      ->one_value_each();
  app.add_option("--set", arguments->launch.overrides.set, "With this field set")
      ->type_name("FIELD=VALUE")
      ->one_value_each();
  app.add_option("--profile", arguments->launch.profile, "With this profile applied")->type_name("NAME");
  app.add_flag("--in-place", arguments->launch.in_place, "As with --in-place");
  return [arguments](Context& context) { return explain_action(context, *arguments); };
}

}  // namespace

Command explain_command() {
  return {"explain", "Writing", "Show what a file would run: files, environment, command line, limits; starts nothing",
          false,     configure, Completes::file};
}

}  // namespace trainctl::cli
