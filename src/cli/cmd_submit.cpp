// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>

#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/launch.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "spec/load.hpp"

namespace trainctl::cli {
namespace {

struct SubmitArguments {
  std::string file;
  LaunchArguments launch;
};

int submit_action(Context& context, const SubmitArguments& arguments) {
  spec::LoadOptions options = load_options(arguments.launch);
  options.path = arguments.file;
  const auto run = spec::load_run(options);
  if (!run) return report_not_started(context, run.error(), false);
  return launch(context, *run, arguments.launch);
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<SubmitArguments>();
  app.add_option("file", arguments->file, "The run configuration")->type_name("FILE")->required();
  add_launch_options(app, arguments->launch);
  return [arguments](Context& context) { return submit_action(context, *arguments); };
}

}  // namespace

Command submit_command() {
  return {
      "submit",
      "Running",
      "Start a run from a file and follow it",
      true,
      configure,
      Completes::file,
      "  trainctl submit digits.run.json\n  trainctl submit digits.run.json -p lr=0.01 --detach\n"
      "The exit code is the run's: 0 succeeded, 1 failed or lost, 3 could not start, 124 time limit, 130 canceled."};
}

}  // namespace trainctl::cli
