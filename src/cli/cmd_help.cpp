// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>

#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "trainctl/error.hpp"

namespace trainctl::cli {
namespace {

struct HelpArguments {
  std::string topic;
  bool all = false;
  bool man = false;
};

int help_action(Context& context, const HelpArguments& arguments) {
  if (arguments.topic.empty() && arguments.man) {
    context.out.write(manual_page(nullptr));
    return 0;
  }
  if (arguments.topic.empty()) {
    context.out.write(overview(context.out, arguments.all));
    return 0;
  }
  const Command* command = find_command(arguments.topic);
  if (command == nullptr) {
    return report(context, Error{.code = Errc::invalid,
                                 .message = "no command \"" + arguments.topic + "\"",
                                 .hint = "trainctl help --all lists them"});
  }
  context.out.write(arguments.man ? manual_page(command) : command_help(*command, context.out.width()));
  return 0;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<HelpArguments>();
  app.add_option("command", arguments->topic, "The command to explain")->type_name("COMMAND");
  app.add_flag("--all,-a", arguments->all, "List every command");
  app.add_flag("--man", arguments->man, "Print the manual page: trainctl help --man ls | man -l -");
  return [arguments](Context& context) { return help_action(context, *arguments); };
}

}  // namespace

Command help_command() {
  return {"help", "Other", "Explain trainctl, or one command", true, configure};
}

}  // namespace trainctl::cli
