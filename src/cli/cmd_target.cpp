// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "cli/target_edit.hpp"
#include "cli/target_slots.hpp"
#include "cli/target_test.hpp"
#include "spec/target_file.hpp"
#include "target/registry.hpp"

namespace trainctl::cli {
namespace {

struct TargetArguments {
  std::string sub = "ls";
  std::string name = "local";
  TargetEdit edit;
  bool all = false, yes = false;
};

/// "ssh user@box", "slurm on this machine": the place in a few words.
std::string place_text(const Json& definition) {
  const std::string type = definition.value("type", "local");
  std::string text = type;
  const auto hosts = definition.find("hosts");
  if (hosts != definition.end() && hosts->is_array() && !hosts->empty()) {
    text += " " + printable(hosts->front().get<std::string>());
    if (hosts->size() > 1) text += " and " + std::to_string(hosts->size() - 1) + " more";
  }
  if (type == "ssh" && definition.value("launcher", "") == "slurm") text += ", Slurm";
  return text;
}

struct Row {
  Json json;
  std::string name, place, source;
};

Row row_of(const spec::TargetPlace& place) {
  Row row;
  row.name = place.name;
  row.source = std::string(place.project ? "project" : "user") + "  " + place.file.string();
  row.json = {{"name", place.name}, {"file", place.file.string()}, {"from", place.project ? "project" : "user"}};
  if (place.hidden) {
    row.place = "hidden by the project's";
    row.json["hidden"] = true;
    return row;
  }
  const auto definition = target::resolve_target(place.name, std::filesystem::current_path());
  if (definition) {
    row.json["type"] = (*definition)["type"];
    row.json["definition"] = *definition;
    row.place = place_text(*definition);
  } else {
    row.json["problem"] = definition.error().front().message;
    row.place = "cannot be used: " + printable(definition.error().front().message);
  }
  return row;
}

int list_targets(Context& context) {
  std::vector<Row> rows;
  for (const target::TargetKind& kind : target::target_kinds()) {
    rows.push_back({.json = {{"name", kind.form}, {"type", kind.type}, {"summary", kind.summary}},
                    .name = std::string(kind.form),
                    .place = std::string(kind.summary),
                    .source = ""});
  }
  for (const auto& place : spec::list_target_files(spec::TargetFolders::around(std::filesystem::current_path())))
    rows.push_back(row_of(place));
  if (context.json) {
    Json items = Json::array();
    for (Row& row : rows) items.push_back(std::move(row.json));
    context.print({{"items", std::move(items)}});
    return 0;
  }
  std::size_t names = 0;
  std::size_t places = 0;
  for (const Row& row : rows) {
    names = std::max(names, row.name.size());
    if (!row.source.empty()) places = std::max(places, display_width(row.place));
  }
  for (const Row& row : rows) {
    std::string line = row.name + std::string(names - row.name.size() + 2, ' ') + row.place;
    if (!row.source.empty())
      line += std::string(places - display_width(row.place) + 2, ' ') +
              context.out.paint(Style::dim, printable(row.source));
    context.out.line(line);
  }
  return 0;
}

int show_target(Context& context, const std::string& name) {
  if (name == "local") return show_local_slots(context);
  const auto here = std::filesystem::current_path();
  const auto definition = target::resolve_target(name, here);
  if (!definition) return report(context, definition.error());
  const auto place = spec::find_target_file(spec::TargetFolders::around(here), name);
  if (context.json) {
    Json shown = *definition;
    shown["file"] = place ? Json(place->file.string()) : Json(nullptr);
    context.print(shown);
    return 0;
  }
  context.out.line(context.out.paint(Style::bold, name) + "  " + place_text(*definition));
  for (const auto& [key, value] : definition->items()) {
    if (key == "name" || key == "type" || key == "scenario") continue;
    const std::string text = value.is_string() ? value.get<std::string>() : base::dump_json(value);
    context.out.line("  " + key + std::string(key.size() < 12 ? 12 - key.size() : 1, ' ') + printable(text));
  }
  context.out.line("  " + (place ? "file        " + printable(place->file.string()) : std::string("not in a file")));
  return 0;
}

int target_action(Context& context, const TargetArguments& arguments) {
  if (arguments.sub == "add") return add_target(context, arguments.edit);
  if (arguments.sub == "rm") return remove_target(context, arguments.edit);
  if (arguments.sub == "test") return test_target(context, arguments.name);
  if (arguments.sub == "clean") return clean_target(context, arguments.name, arguments.all, arguments.yes);
  return arguments.sub == "ls" ? list_targets(context) : show_target(context, arguments.name);
}

void configure_add(Options add, TargetEdit& edit) {
  add.add_option("name", edit.name, "What to call it")->type_name("NAME")->required();
  add.add_option("host", edit.hosts, "user@box or a host of your ssh settings; several for runs on as many nodes")
      ->type_name("HOST")
      ->expected(0, 10000);
  add.add_option("--ssh-config", edit.ssh_config, "Use this ssh configuration instead of yours")->type_name("FILE");
  add.add_option("--directory", edit.directory, "Where to keep things on the host (default ~/.trainctl)")
      ->type_name("DIR");
  add.add_option("--launcher", edit.launcher, "Start runs as processes or as Slurm jobs")
      ->type_name("WORD")
      ->one_of({"process", "slurm"});
  add.add_option("--set", edit.set, "Set any field of the file, e.g. --set slurm.partition=gpu")
      ->type_name("FIELD=VALUE")
      ->one_value_each();
  add.add_flag("--accept-new-host-keys", edit.accept_new_host_keys, "Accept the key of a host that was never seen");
  add.add_flag("--project", edit.project, "In the project's targets/, for everyone who works on it");
  add.add_flag("--replace", edit.replace, "Write the file anew where there is one");
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<TargetArguments>();
  app.add_subcommand("ls", "List the kinds of targets and those with a name", arguments->sub);
  app.add_subcommand("show", "Show what is written of one; of local what it has and who holds it", arguments->sub)
      .add_option("name", arguments->name, "The target; local when left out")
      ->type_name("TARGET");
  configure_add(app.add_subcommand("add", "Name a target: write its file", arguments->sub), arguments->edit);
  Options rm = app.add_subcommand("rm", "Remove the file of a target; what its host keeps stays", arguments->sub);
  rm.add_option("name", arguments->edit.name, "The target")->type_name("TARGET")->required();
  rm.add_flag("--project", arguments->edit.project, "The project's, not yours");
  app.add_subcommand("test", "Ask one what is there: each finding with what to do", arguments->sub)
      .add_option("name", arguments->name, "The target; local when left out")
      ->type_name("TARGET");
  Options clean = app.add_subcommand("clean", "Remove what its host keeps for ended runs", arguments->sub);
  clean.add_option("name", arguments->name, "The target")->type_name("TARGET")->required();
  clean.add_flag("--all", arguments->all, "Every trace of trainctl, if no run goes on");
  clean.add_flag("-y,--yes", arguments->yes, "Do not ask");
  return [arguments](Context& context) { return target_action(context, *arguments); };
}

}  // namespace

Command target_command() {
  return {"target",
          "Other",
          "Name places where runs go, and see what is there",
          false,
          configure,
          Completes::target,
          "A target is local, user@box, a host of your ssh settings, or a name: a file in ~/.config/trainctl/targets "
          "or in\n"
          "the project's targets/ (trainctl schema target says what it may contain). show local also names who\n"
          "computes on GPUs without a reservation. show asks no host, test does."};
}

}  // namespace trainctl::cli
