// SPDX-License-Identifier: Apache-2.0
// Manual pages, from the same records as `help`: man(7) macros.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "cli/command.hpp"
#include "trainctl/version.hpp"

namespace trainctl::cli {
namespace {

/// Text as roff takes it: no macro at the begin of a line, "-" stays a "-" that can be copied.
std::string escaped(std::string_view text) {
  std::string out;
  bool at_line_begin = true;
  for (const char c : text) {
    if (at_line_begin && (c == '.' || c == '\'')) out += "\\&";
    at_line_begin = c == '\n';
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out;
}

std::string section(std::string_view title) {
  return ".SH " + base::to_upper(title) + "\n";
}

std::string item(std::string_view term, std::string_view help) {
  return ".TP\n.B " + escaped(base::trim(term)) + "\n" + escaped(help) + "\n";
}

/// Examples and tables keep their lines.
std::string as_written(std::string_view text) {
  return ".nf\n" + escaped(text) + "\n.fi\n";
}

std::string heading(const std::string& name, std::string_view summary) {
  return ".TH \"" + base::to_upper(name) + "\" 1 \"\" \"trainctl " + std::string(version()) + "\" \"trainctl\"\n" +
         section("Name") + escaped(name) + " \\- " + escaped(summary) + "\n";
}

std::string options(const CommandText& text) {
  std::string out;
  const std::string* group = nullptr;
  for (const OptionText& option : text.options) {
    if (group == nullptr || *group != option.group) out += section(option.group);
    group = &option.group;
    out += item(option.name, option.help);
  }
  return out;
}

std::string words_below(const CommandText& text) {
  if (text.commands.empty()) return {};
  std::string out = section("Commands");
  for (const CommandText& sub : text.commands) {
    out += ".SS " + escaped(sub.usage) + "\n" + escaped(sub.summary) + ".\n";
    for (const OptionText& option : sub.options) out += item(option.name, option.help);
  }
  return out;
}

constexpr const char* kCommon =
    "--json prints JSON for programs, -q or --quiet results only, --utc times in UTC; --no-color, -h or --help.";

std::string command_page(const Command& command) {
  const CommandText text = command_text(command);
  std::string out = heading("trainctl-" + std::string(command.name), command.summary);
  out += section("Synopsis") + ".B " + escaped(text.usage) + "\n" + options(text) + words_below(text);
  out += section("Common options") + escaped(kCommon) + "\n";
  if (*command.details != '\0') out += section("Description") + as_written(command.details);
  return out + section("See also") + ".BR trainctl (1)\n";
}

std::string program_page() {
  std::string out = heading("trainctl", "run training scripts anywhere and remember everything");
  out += section("Synopsis") + ".B trainctl\n.I COMMAND\n[OPTIONS]\n";
  std::vector<std::string_view> groups;
  for (const Command& command : all_commands()) {
    if (std::find(groups.begin(), groups.end(), command.group) == groups.end()) groups.emplace_back(command.group);
  }
  for (const std::string_view group : groups) {
    out += section(group);
    for (const Command& command : all_commands()) {
      if (group != command.group) continue;
      out += ".TP\n.BR trainctl\\-" + escaped(command.name) + " (1)\n" + escaped(command.summary) + ".\n";
    }
  }
  out += section("Common options") + escaped(kCommon) + "\n";
  out += section("Names of runs") +
         escaped("digits-42, digits (its last), @ (your last run), @2 (the one before), or an id.\n");
  out += section("Exit status") +
         as_written(
             "0    all went well\n1    the run failed, or was lost\n2    wrong usage, or an invalid file\n"
             "3    it could not start\n4    no such run, file, environment or target\n5    permission denied\n"
             "6    the store is unreadable, damaged, full or newer than this program\n8    wait --timeout expired\n"
             "70   a mistake in trainctl\n75   unreachable at the moment\n124  the run exceeded its time limit\n"
             "130  canceled, or detached by an interrupt");
  out += section("Environment") +
         item("TRAINCTL_HOME", "the store; else $XDG_DATA_HOME/trainctl, else ~/.local/share/trainctl") +
         item("NO_COLOR, CLICOLOR_FORCE", "no colours; colours in a pipe too") +
         item("COLUMNS", "the width of tables and plots");
  return out + section("Files") + item("~/.config/trainctl/config.json", "your own settings, for every run") +
         item("trainctl.json", "settings of a project, in its folder or above");
}

}  // namespace

std::string manual_page(const Command* command) {
  return command == nullptr ? program_page() : command_page(*command);
}

}  // namespace trainctl::cli
