// SPDX-License-Identifier: Apache-2.0
// A command is one file that defines one `Command` and one line in command_table.cpp. Help, completion and man pages
// are made from the same records.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cli/options.hpp"
#include "cli/output.hpp"

namespace trainctl::cli {

/// What a positional argument or an option's value means to shell completion.
enum class Completes { nothing, file, run, target, state, shell };

/// Runs the parsed command; returns the exit code.
using Action = std::function<int(Context&)>;

struct Command {
  const char* name;
  const char* group;    ///< heading in `help`
  const char* summary;  ///< one line
  bool common;          ///< among the ten of `help`
  /// Adds the options and returns what to do once they are parsed. Sub-commands are added to `app` as well.
  Action (*configure)(Options& app);
  Completes completes = Completes::nothing;  ///< of the positional arguments
  const char* details = "";                  ///< longer text and examples, for help and man
};

/// All commands, in the order of `help --all`.
std::span<const Command> all_commands();
const Command* find_command(std::string_view name);

/// The exit code of the program. Never throws.
int main(int argc, char** argv);

/// Runs one command line; used by main and by commands that are another in disguise.
int dispatch(Context& context, const Command& command, std::span<const std::string> arguments);

struct OptionText {
  std::string group;  ///< "Arguments", "Options", "Common options"
  std::string name;   ///< "-n, --limit N", "run"
  std::string help;
};

/// What help and man page say of a command, or of a word below it ("env ls").
struct CommandText {
  std::string usage;
  std::string summary;
  std::vector<OptionText> options;
  std::vector<CommandText> commands;
};
CommandText command_text(const Command& command);

/// The manual page in roff: of one command, or (null) of the whole program.
std::string manual_page(const Command* command);

/// Text of `trainctl help` (the common ones), `help --all`, and of one command.
std::string overview(const Stream& out, bool all);
std::string command_help(const Command& command, int width);
/// Options and sub-commands that may stand at the end of `line` (the words behind "trainctl", the last one unfinished).
std::vector<std::string> option_words(const Command& command, const std::vector<std::string>& line);

}  // namespace trainctl::cli
