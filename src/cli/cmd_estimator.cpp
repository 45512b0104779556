// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "spec/estimator_preset.hpp"
#include "spec/load.hpp"
#include "trainctl/error.hpp"

namespace trainctl::cli {
namespace {

struct EstimatorArguments {
  std::string sub = "ls";
  std::string name;
};

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string range_text(const spec::PresetVersions& range) {
  if (range.from && range.until) return *range.from + " to before " + *range.until;
  if (range.from) return *range.from + " and later";
  return range.until ? "before " + *range.until : "all versions";
}

std::vector<std::string> distribution_names(const spec::EstimatorPreset& preset) {
  std::vector<std::string> names;
  names.reserve(preset.distributions.size());
  for (const spec::PresetDistribution& one : preset.distributions) names.push_back(one.name);
  return names;
}

Json optional_text(const std::optional<std::string>& text) {
  return text ? Json(*text) : Json(nullptr);
}

Json to_json(const spec::PresetVersions& range) {
  Json variables = Json::object();
  for (const auto& [name, value] : range.variables) variables[name] = value;
  return {{"from", optional_text(range.from)},
          {"until", optional_text(range.until)},
          {"python", optional_text(range.python)},
          {"packages", range.packages},
          {"cpu", range.cpu},
          {"gpu", range.gpu},
          {"build_constraints", range.build_constraints},
          {"variables", variables},
          {"known", range.known}};
}

Json rules_json(const std::vector<spec::PresetRule>& rules) {
  Json items = Json::array();
  for (const spec::PresetRule& rule : rules)
    items.push_back({{"say", rule.say}, {"instead", optional_text(rule.instead)}});
  return items;
}

Json to_json(const spec::FoundPreset& found) {
  const spec::EstimatorPreset& preset = found.preset;
  Json versions = Json::array();
  for (const spec::PresetVersions& range : preset.versions) versions.push_back(to_json(range));
  Json variables = Json::object();
  for (const auto& [name, value] : preset.variables) variables[name] = value;
  return {{"name", preset.name},
          {"title", preset.title.value_or(preset.name)},
          {"description", preset.description.value_or("")},
          {"aliases", preset.aliases},
          {"source", found.source},
          {"package", optional_text(preset.package)},
          {"default_version", optional_text(preset.default_version)},
          {"versions", versions},
          {"distributions", distribution_names(preset)},
          {"variables", variables},
          {"metric_patterns", preset.metric_patterns},
          {"checks", rules_json(preset.checks)},
          {"hints", rules_json(preset.hints)}};
}

int list(Context& context, const spec::Presets& presets) {
  Json items = Json::array();
  std::vector<std::vector<std::string>> rows;
  Errors errors;
  for (const std::string& name : presets.names()) {
    const auto found = presets.load(name);
    if (!found) {
      errors.insert(errors.end(), found.error().begin(), found.error().end());
      continue;
    }
    if (context.json) items.push_back(to_json(*found));
    rows.push_back(
        {name, found->preset.default_version.value_or(""),
         found->preset.description.value_or("") + (found->source == "built in" ? "" : "  (" + found->source + ")")});
  }
  if (!errors.empty()) return report(context, errors);
  if (context.json) {
    context.print({{"items", items}});
    return 0;
  }
  std::size_t widths[2] = {0, 0};
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < 2; ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < 2; ++i) line += row[i] + std::string(widths[i] - display_width(row[i]) + 2, ' ');
    context.out.line(line + printable(row[2]));
  }
  return 0;
}

class Page {
 public:
  explicit Page(Context& context) : context_(context) {}
  void heading(const std::string& text) { context_.out.line(context_.out.paint(Style::bold, printable(text))); }
  void row(std::string_view label, const std::string& value, int indent = 2) {
    if (value.empty()) return;
    const std::size_t pad = label.size() < 16 ? 16 - label.size() : 1;
    context_.out.line(std::string(static_cast<std::size_t>(indent), ' ') + context_.out.paint(Style::dim, label) +
                      std::string(pad, ' ') + printable(value));
  }

 private:
  Context& context_;
};

void print_rules(Page& page, std::string_view label, const std::vector<spec::PresetRule>& rules) {
  for (const spec::PresetRule& rule : rules) page.row(label, rule.say + (rule.instead ? ": " + *rule.instead : ""));
}

void print_preset(Context& context, const spec::FoundPreset& found) {
  const spec::EstimatorPreset& preset = found.preset;
  Page page(context);
  page.heading(preset.title.value_or(preset.name) +
               (preset.default_version ? " " + *preset.default_version + " by default" : ""));
  page.row("about", preset.description.value_or(""));
  page.row("name", preset.name + (preset.aliases.empty() ? "" : " (" + joined(preset.aliases) + ")"));
  page.row("from", found.source);
  const auto names = distribution_names(preset);
  page.row("distributions", names.empty() ? "none: one process" : joined(names));
  for (const auto& [name, value] : preset.variables) page.row("variable", std::string(name).append("=").append(value));
  for (const std::string& pattern : preset.metric_patterns) page.row("metric pattern", pattern);
  print_rules(page, "check", preset.checks);
  print_rules(page, "hint", preset.hints);
  for (const spec::PresetVersions& range : preset.versions) {
    page.heading(range_text(range));
    page.row("python", range.python.value_or(""));
    page.row("packages", joined(range.packages));
    page.row("without GPUs", joined(range.cpu));
    page.row("with GPUs", joined(range.gpu));
    page.row("built with", joined(range.build_constraints));
    for (const auto& [name, value] : range.variables) page.row("variable", std::string(name).append("=").append(value));
    page.row("known", joined(range.known));
  }
}

int estimator_action(Context& context, const EstimatorArguments& arguments) {
  const spec::Presets presets(spec::preset_folders(".", spec::default_user_config()));
  if (arguments.sub == "ls") return list(context, presets);
  const auto found = presets.load(arguments.name);
  if (!found) return report(context, found.error());
  if (context.json) {
    context.print(to_json(*found));
  } else {
    print_preset(context, *found);
  }
  return 0;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<EstimatorArguments>();
  app.add_subcommand("ls", "List the frameworks, with the version each takes by default", arguments->sub);
  app.add_subcommand("show", "Show one: its versions, packages, ways of distributing, checks", arguments->sub)
      .add_option("name", arguments->name, "The framework")
      ->type_name("NAME")
      ->required();
  return [arguments](Context& context) { return estimator_action(context, *arguments); };
}

}  // namespace

Command estimator_command() {
  return {"estimator",
          "Writing",
          "Show what is known about frameworks: versions, packages, ways of distributing",
          false,
          configure,
          Completes::nothing,
          "A framework of your own is a JSON file: .trainctl/estimators/NAME.json in the project, or\n"
          "estimators/NAME.json beside your config.json. trainctl schema estimator-preset says what it may contain;\n"
          "\"extends\": \"pytorch\" changes one that is there."};
}

}  // namespace trainctl::cli
