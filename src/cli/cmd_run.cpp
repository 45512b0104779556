// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/text.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/launch.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "spec/load.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

/// A file that is there, but no Python script and nothing that could be started: said before anything is recorded.
std::optional<Error> not_runnable(const std::vector<std::string>& words) {
  const std::string& file = words.front();
  if (std::string_view(file).ends_with(".py") || !base::file_size(file)) return std::nullopt;
  const bool shell = std::string_view(file).ends_with(".sh");
  if (::access(file.c_str(), X_OK) == 0 && !shell) return std::nullopt;
  std::string rest;
  for (const std::string& word : words) rest += " " + base::shell_quote(word);
  if (shell) {
    return Error{.code = Errc::invalid,
                 .message = printable(file) + " is no Python script",
                 .hint = "trainctl run -- bash" + rest};
  }
  return Error{.code = Errc::invalid,
               .message = printable(file) + " is neither a Python script (.py), a configuration (.json) nor executable",
               .hint = "trainctl run -- PROGRAM" + rest};
}

ResultAll<spec::LoadedRun> load(const std::vector<std::string>& words, LaunchArguments& arguments) {
  spec::LoadOptions options = load_options(arguments);
  if (arguments.bare_command) return spec::run_from_command(words, options);
  const std::string& first = words.front();
  if (std::string_view(first).ends_with(".json")) {
    options.path = first;
    if (words.size() > 1) {
      return tl::make_unexpected(Errors{{.code = Errc::invalid,
                                         .message = "\"" + words[1] + "\" stands behind the file " + first,
                                         .hint = "options go before the file; parameters with -p key=value"}});
    }
    return spec::load_run(options);
  }
  if (auto error = not_runnable(words)) return tl::make_unexpected(Errors{std::move(*error)});
  return spec::run_from_script(first, {words.begin() + 1, words.end()}, options);
}

/// Everything behind the script is the script's. Of these words it is likely that they were meant for us.
void note_misplaced(const Context& context, const std::vector<std::string>& words) {
  for (const char* ours : {"--detach", "--in-place", "--require-clean", "--dry-run"}) {
    if (std::find(words.begin() + 1, words.end(), ours) == words.end()) continue;
    context.note("note: " + std::string(ours) + " goes to the script; for trainctl it stands before it: trainctl run " +
                 ours + " " + printable(words.front()));
  }
}

int run_action(Context& context, const Options& app, LaunchArguments& arguments) {
  std::vector<std::string> words = app.remaining();
  arguments.bare_command = !words.empty() && words.front() == "--";
  if (arguments.bare_command) words.erase(words.begin());
  if (words.empty()) {
    return report(context,
                  Error{.code = Errc::invalid,
                        .message = "nothing to run",
                        .hint = "trainctl run train.py --lr 0.1, or trainctl run -- CMD, or trainctl run FILE.json"});
  }
  if (!arguments.bare_command && words.front().starts_with('-')) {
    return report(context, Error{.code = Errc::invalid,
                                 .message = "unknown option " + words.front(),
                                 .hint = "trainctl run --help; options of the script go behind the script"});
  }
  if (!arguments.bare_command) note_misplaced(context, words);
  const auto run = load(words, arguments);
  if (!run) return report_not_started(context, run.error(), arguments.bare_command);
  return launch(context, *run, arguments);
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<LaunchArguments>();
  app.take_rest("SCRIPT|FILE|-- COMMAND [ARGUMENT…]");
  add_launch_options(app, *arguments);
  return [arguments, app](Context& context) { return run_action(context, app, *arguments); };
}

}  // namespace

Command run_command() {
  return {"run",
          "Running",
          "Run a script, a file, or any command, and follow it; no file needed",
          true,
          configure,
          Completes::file,
          "  trainctl run train.py --lr 0.1      a script with its parameters\n  trainctl run digits.run.json        a "
          "run configuration\n"
          "  trainctl run -- make train          any command, as it is; its exit code is ours"};
}

}  // namespace trainctl::cli
