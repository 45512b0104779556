// SPDX-License-Identifier: Apache-2.0
// Help texts, made from the command records and their CLI11 apps.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"

namespace trainctl::cli {
namespace {

constexpr std::size_t kNameColumn = 28;
constexpr std::size_t kNarrow = kNameColumn + 30;  ///< below that the explanation stands under the name
constexpr std::size_t kNarrowIndent = 8;

std::string wrap(std::string_view text, std::size_t indent, std::size_t width) {
  std::string result;
  std::size_t column = indent;
  std::size_t begin = 0;
  while (begin < text.size()) {
    std::size_t end = text.find_first_of(" \n", begin);
    if (end == std::string_view::npos) end = text.size();
    const std::string_view word = text.substr(begin, end - begin);
    if (column > indent && column + 1 + word.size() > width) {
      result += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      result += ' ';
      ++column;
    }
    result += word;
    column += word.size();
    if (end < text.size() && text[end] == '\n') {
      result += "\n" + std::string(indent, ' ');
      column = indent;
    }
    begin = end + 1;
  }
  return result;
}

std::string entry(std::string_view left, std::string_view right, std::size_t width) {
  std::string line = "  " + std::string(left);
  if (width < kNarrow) return line + "\n" + std::string(kNarrowIndent, ' ') + wrap(right, kNarrowIndent, width) + "\n";
  if (line.size() + 2 > kNameColumn) {
    line += "\n" + std::string(kNameColumn, ' ');
  } else {
    line += std::string(kNameColumn - line.size(), ' ');
  }
  return line + wrap(right, kNameColumn, width) + "\n";
}

std::string option_name(const CLI::Option& option) {
  if (option.get_positional() && option.get_lnames().empty()) return option.get_name(true);
  std::string name;
  for (const std::string& s : option.get_snames()) name += (name.empty() ? "-" : ", -") + s;
  for (const std::string& l : option.get_lnames()) name += (name.empty() ? "    --" : ", --") + l;
  if (option.get_type_size() != 0 && option.get_expected_max() != 0) name += " " + option.get_type_name();
  return name;
}

std::string usage_line(const CLI::App& app, const std::string& prefix) {
  std::string usage = prefix;
  if (!app.get_options([](const CLI::Option* o) { return !o->get_positional(); }).empty()) usage += " [OPTIONS]";
  for (const CLI::Option* option : app.get_options([](const CLI::Option* o) { return o->get_positional(); })) {
    if (option->get_group().empty()) continue;
    const std::string name = option->get_name(true) + (option->get_expected_max() > 1 ? "…" : "");
    usage += option->get_required() ? " " + name : " [" + name + "]";
  }
  if (!app.get_subcommands([](const CLI::App*) { return true; }).empty()) usage += " COMMAND";
  // What take_rest was told.
  if (app.get_prefix_command()) usage += " " + app.get_footer();
  return usage;
}

CommandText text_of(const CLI::App& app, const std::string& prefix) {
  CommandText text{.usage = usage_line(app, prefix), .summary = app.get_description(), .options = {}, .commands = {}};
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    const bool positional = option->get_positional() && option->get_lnames().empty();
    text.options.push_back({.group = positional ? "Arguments" : option->get_group(),
                            .name = option_name(*option),
                            .help = option->get_description()});
  }
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    text.commands.push_back(text_of(*sub, prefix + " " + sub->get_name()));
  return text;
}

void print(const CommandText& command, std::size_t width, std::string& text) {
  text += "Usage: " + command.usage + "\n";
  const std::string* group = nullptr;
  for (const OptionText& option : command.options) {
    if (group == nullptr || *group != option.group) text += "\n" + option.group + ":\n";
    group = &option.group;
    text += entry(option.name, option.help, width);
  }
  for (const CommandText& sub : command.commands) {
    text += "\n" + sub.summary + "\n";
    print(sub, width, text);
  }
}

}  // namespace

std::string overview(const Stream& out, bool all) {
  std::string text = "trainctl runs training scripts anywhere and remembers everything.\n\n";
  text += "Usage: trainctl COMMAND [OPTIONS]\n";
  std::vector<std::string_view> groups;
  for (const Command& command : all_commands()) {
    if ((all || command.common) && std::find(groups.begin(), groups.end(), command.group) == groups.end()) {
      groups.emplace_back(command.group);
    }
  }
  for (const std::string_view group : groups) {
    text += "\n" + out.paint(Style::bold, group) + "\n";
    for (const Command& command : all_commands()) {
      if (group == command.group && (all || command.common)) {
        text += entry(command.name, command.summary, static_cast<std::size_t>(out.width()));
      }
    }
  }
  text += "\nRuns are named digits-42, digits (its last), @ (your last run), @2, or by id.\n";
  if (!all) text += "trainctl help --all lists the other commands; trainctl COMMAND --help explains one.\n";
  return text;
}

CommandText command_text(const Command& command) {
  CLI::App app(command.summary, command.name);
  app.set_help_flag();
  Options options(app);
  const Action action = command.configure(options);
  return text_of(app, "trainctl " + std::string(command.name));
}

std::string command_help(const Command& command, int width) {
  std::string text = std::string(command.summary) + ".\n\n";
  print(command_text(command), static_cast<std::size_t>(width), text);
  text += "\nCommon options: --json  -q, --quiet  --utc  --no-color  -h, --help\n";
  if (*command.details != '\0') text += "\n" + std::string(command.details) + "\n";
  return text;
}

std::vector<std::string> option_words(const Command& command, const std::vector<std::string>& line) {
  CLI::App app(command.summary, command.name);
  app.set_help_flag();
  Options options(app);
  const Action action = command.configure(options);
  const CLI::App* current = &app;
  for (std::size_t i = 1; i + 1 < line.size(); ++i) {
    const auto subs = current->get_subcommands([&](const CLI::App* sub) { return sub->get_name() == line[i]; });
    if (!subs.empty()) current = subs.front();
  }
  std::vector<std::string> words;
  if (!line.back().starts_with('-')) {
    for (const CLI::App* sub : current->get_subcommands([](const CLI::App*) { return true; }))
      words.push_back(sub->get_name());
    return words;
  }
  for (const CLI::Option* option : current->get_options()) {
    for (const std::string& name : option->get_lnames()) {
      if (!option->get_group().empty()) words.push_back("--" + name);
    }
  }
  for (const char* common : {"--json", "--quiet", "--utc", "--no-color", "--help"}) words.emplace_back(common);
  return words;
}

}  // namespace trainctl::cli
