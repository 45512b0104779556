// SPDX-License-Identifier: Apache-2.0
// From argv to a command. Only the App of the command that is called is built: building all of them costs more than the
// rest of a start together.
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/text.hpp"
#include "cli/command.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "host/distribution/mpi_rank.hpp"
#include "host/linux/process.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"
#include "trainctl/version.hpp"

namespace trainctl::cli {
namespace {

/// The options that every command takes.
struct GlobalOptions {
  bool json = false;
  bool quiet = false;
  bool utc = false;
  bool no_color = false;
};

void add_global_options(CLI::App& app, GlobalOptions& options) {
  app.add_flag("--json", options.json, "Print JSON for programs")->group("Common options");
  app.add_flag("-q,--quiet", options.quiet, "Print results only, no talk")->group("Common options");
  app.add_flag("--utc", options.utc, "Show times in UTC")->group("Common options");
  app.add_flag("--no-color", options.no_color, "No colours")->group("Common options");
}

void add_globals_to_all(CLI::App& app, GlobalOptions& options) {
  add_global_options(app, options);
  for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; })) add_globals_to_all(*sub, options);
}

std::string option_hint(const CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(sub->get_name());
  const std::vector<std::string_view> candidates(names.begin(), names.end());
  const auto near = base::suggest(word.substr(0, word.find('=')), candidates);
  return near ? "did you mean " + *near + "?" : "";
}

const CLI::App& deepest(const CLI::App& app) {
  const CLI::App* current = &app;
  while (!current->get_subcommands().empty()) current = current->get_subcommands().front();
  return *current;
}

/// "usage: trainctl cancel [OPTIONS] run…" of the command that was meant; empty when it is none of ours.
std::string usage_of(const CLI::App& app) {
  const Command* command = find_command(app.get_name());
  if (command == nullptr) return {};
  CommandText text = command_text(*command);
  for (const CLI::App* a = &app; !a->get_subcommands().empty();) {
    a = a->get_subcommands().front();
    const auto inner = std::find_if(text.commands.begin(), text.commands.end(), [&](const CommandText& sub) {
      return sub.usage.find(" " + a->get_name()) != std::string::npos;
    });
    if (inner == text.commands.end()) break;
    text = CommandText(*inner);
  }
  return "usage: " + text.usage;
}

int usage_error(const Context& context, const CLI::App& app, const CLI::ParseError& problem,
                std::span<const std::string> words) {
  Error error{.code = Errc::invalid, .message = problem.what()};
  const CLI::App& last = deepest(app);
  if (dynamic_cast<const CLI::ExtrasError*>(&problem) != nullptr) {
    for (const std::string& word : last.remaining()) {
      error.message = word.starts_with('-') ? "unknown option " + word : "unexpected argument \"" + word + "\"";
      error.hint = option_hint(last, word);
      break;
    }
  }
  if (dynamic_cast<const CLI::RequiredError*>(&problem) != nullptr) error.hint = usage_of(app);
  if (error.hint.empty()) {
    std::string name = context.program;
    for (const CLI::App* a = &app;;) {
      name += " " + a->get_name();
      if (a->get_subcommands().empty()) break;
      a = a->get_subcommands().front();
    }
    error.hint = name + " --help shows what it takes";
  }
  bool json = false;
  for (const std::string& word : words) json = json || word == "--json";
  Context shown = context;
  shown.json = json;
  return report(shown, error);
}

int unknown_command(const Context& context, const std::string& word) {
  Error error{
      .code = Errc::invalid, .message = "unknown command \"" + word + "\"", .hint = "trainctl help lists the commands"};
  std::vector<std::string_view> names;
  for (const Command& command : all_commands()) names.emplace_back(command.name);
  if (const auto near = base::suggest(word, names)) error.hint = "did you mean trainctl " + *near + "?";
  return report(context, error);
}

/// Is there a --help that is ours? Not behind "--", and for commands that pass words on not behind the first of those.
bool asks_for_help(const Command& command, std::span<const std::string> words) {
  const std::string_view name = command.name;
  const bool passes_on = name == "run" || name == "exec";
  for (const std::string& word : words) {
    if (word == "--" || (passes_on && !word.starts_with('-'))) return false;
    if (word == "--help" || word == "-h") return true;
  }
  return false;
}

/// `trainctl --json ls` means what `trainctl ls --json` means; no words at all mean help.
std::vector<std::string> command_first(std::vector<std::string> words) {
  const auto command = std::find_if_not(words.begin(), words.end(), [](const std::string& word) {
    return word == "--json" || word == "-q" || word == "--quiet" || word == "--utc" || word == "--no-color";
  });
  if (command == words.end()) {
    words.insert(words.begin(), "help");
  } else {
    std::rotate(words.begin(), command, command + 1);
  }
  return words;
}

int finish(Context& context, int code) {
  context.out.flush();
  context.err.flush();
  // Nobody reads our output any more: not an error of ours (design: EPIPE on stdout detaches, 0).
  if (context.out.closed()) return 0;
  if (context.out.write_error() != 0 && code == 0) {
    return report(context, system_error("write to stdout", context.out.write_error()));
  }
  return code;
}

/// What a library threw. One cause is not ours: the folder was removed under the shell that stands in it.
Error unexpected(const std::exception& problem) {
  std::error_code gone;
  (void)std::filesystem::current_path(gone);
  if (gone)
    return {.code = Errc::not_found, .message = "the current folder does not exist any more", .hint = "cd to another"};
  return {.code = Errc::internal,
          .message = std::string("internal error: ") + problem.what(),
          .hint = "this is a bug of trainctl: please report it with the command line"};
}

/// What streams come in, a megabyte a piece, is freed and wanted again at once. Given back to the kernel in between,
/// each page of it is a fault again: 120,000 of them a gigabyte, and dear ones where a hypervisor takes free pages
/// away.
void keep_freed_memory() {
  constexpr int kKept = 16 << 20;
  constexpr int kMapped = 4 << 20;             // larger ones are rare and come and go by mmap
  (void)::mallopt(M_TRIM_THRESHOLD, kKept);    // NOLINT(concurrency-mt-unsafe): before any thread
  (void)::mallopt(M_MMAP_THRESHOLD, kMapped);  // NOLINT(concurrency-mt-unsafe)
}

}  // namespace

int dispatch(Context& context, const Command& command, std::span<const std::string> arguments) {
  CLI::App app(command.summary, command.name);
  app.set_help_flag();
  GlobalOptions options;
  Options command_options(app);
  const Action action = command.configure(command_options);
  add_globals_to_all(app, options);
  try {
    // CLI11 takes the words in reverse.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& problem) {
    return usage_error(context, app, problem, arguments);
  }
  context.json = options.json;
  context.quiet = options.quiet;
  context.utc = options.utc;
  if (options.no_color) {
    context.out.disable_colors();
    context.err.disable_colors();
  }
  return action(context);
}

int main(int argc, char** argv) {
  // A closed pipe is an answer of write(2), not a death; children get the default back at exec.
  (void)std::signal(SIGPIPE, SIG_IGN);
  host::fill_standard_descriptors();
  keep_freed_memory();
  // Not a command for people: what mpiexec starts for each rank (see host/distribution/mpi_rank.hpp).
  if (argc > 1 && std::string_view(argv[1]) == "exec-rank") return host::mpi_rank_main({argv + 2, argv + argc});
  Stream out(STDOUT_FILENO);
  Stream err(STDERR_FILENO);
  Context context{out, err};
  context.argv.assign(argv, argv + argc);
  std::vector<std::string> words = command_first({context.argv.begin() + (argc > 0 ? 1 : 0), context.argv.end()});
  if (words.front() == "--version" || words.front() == "-V") {
    out.line("trainctl " + std::string(version()));
    return finish(context, 0);
  }
  if (words.front() == "--help" || words.front() == "-h") words.front() = "help";
  const Command* command = find_command(words.front());
  if (command == nullptr) return finish(context, unknown_command(context, words.front()));
  words.erase(words.begin());
  // It explains the command, whatever else is wrong with the line.
  if (asks_for_help(*command, words)) {
    out.write(command_help(*command, out.width()));
    return finish(context, 0);
  }
  try {
    return finish(context, dispatch(context, *command, words));
  } catch (const std::exception& problem) {
    return finish(context, report(context, unexpected(problem)));
  }
}

}  // namespace trainctl::cli
