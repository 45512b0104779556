// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "spec/import/import.hpp"
#include "spec/import/report.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"
#include "yaml/yaml.hpp"

namespace trainctl::cli {
namespace {

namespace fs = std::filesystem;
namespace from = spec::import;

struct ImportArguments {
  std::string file;
  std::optional<std::string> output;
  std::optional<std::string> format;
  std::string entry_point = "main";
  std::vector<std::string> parameters;
  std::vector<std::string> inputs;
  bool force = false;
};

Result<base::LocatedJson> read_yaml(const fs::path& path, const std::string& shown) {
  TRY_ASSIGN(const std::string text, base::read_file(path, 16U << 20U));
  return yaml::parse(text, shown);
}

/// NAME=VALUE pairs.
Result<std::map<std::string, std::string, std::less<>>> pairs(const std::vector<std::string>& words,
                                                              const char* option) {
  std::map<std::string, std::string, std::less<>> made;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0) {
      return fail(Errc::invalid, std::string(option) + " " + word + ": expected NAME=VALUE");
    }
    made[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return made;
}

/// The source directory: SDKs keep run configurations in .azureml/ (before: aml_config/) of it.
fs::path project_of(const fs::path& file) {
  const fs::path folder = fs::absolute(file).lexically_normal().parent_path();
  const std::string name = folder.filename().string();
  return name == ".azureml" || name == "aml_config" ? folder.parent_path() : folder;
}

Result<from::Imported> import_file(const ImportArguments& arguments, from::Request& request) {
  std::error_code ignored;
  if (fs::is_directory(arguments.file, ignored)) {
    return fail(Errc::invalid, arguments.file + " is a folder", "name the file: " + arguments.file + "/MLproject");
  }
  TRY_ASSIGN(const auto document, read_yaml(arguments.file, arguments.file));
  const auto format =
      arguments.format
          ? std::optional(*arguments.format == "mlproject" ? from::Format::mlproject : from::Format::azureml_runconfig)
          : from::recognise(arguments.file, document.value);
  if (!format) {
    return fail(Error{.code = Errc::invalid,
                      .message = "this is neither an Azure ML run configuration nor an MLproject",
                      .at = SourcePosition{arguments.file, 1, 1},
                      .hint = "say what it is with --format"});
  }
  request.file = arguments.file;
  request.format = *format;
  request.project = project_of(arguments.file);
  request.from = fs::absolute(arguments.output ? *arguments.output : "x").lexically_normal().parent_path();
  request.entry_point = arguments.entry_point;
  TRY_ASSIGN(request.given, pairs(arguments.parameters, "-p"));
  TRY_ASSIGN(request.data, pairs(arguments.inputs, "--input"));
  request.read = [&](const fs::path& path) {
    return read_yaml(path, path.lexically_relative(fs::current_path()).string());
  };
  return *format == from::Format::mlproject ? from::mlproject(document, request)
                                            : from::azureml_runconfig(document, request);
}

Result<> write_new(const fs::path& path, const std::string& text, bool force) {
  if (force) return base::write_file_atomic(path, text, 0644);
  TRY_ASSIGN(const bool written, base::create_exclusive(path, text, 0644));
  if (!written) return fail(Errc::invalid, path.string() + " exists", "--force overwrites it");
  return {};
}

Json item_json(const from::Item& item) {
  Json made = {{"field", item.field}, {"fate", from::to_string(item.fate)}};
  if (!item.to.empty()) made["to"] = item.to;
  if (!item.note.empty()) made["note"] = item.note;
  if (item.at) made["position"] = {{"file", item.at->file}, {"line", item.at->line}, {"column", item.at->column}};
  return made;
}

std::string place(const from::Item& item) {
  if (!item.at) return {};
  return ":" + std::to_string(item.at->line) + ":" + std::to_string(item.at->column);
}

void say(Context& context, const ImportArguments& arguments, const from::Imported& made) {
  std::size_t mapped = 0;
  std::size_t unset = 0;
  for (const from::Item& item : made.items) {
    if (item.fate == from::Item::Fate::mapped) ++mapped;
    if (item.fate == from::Item::Fate::unset) ++unset;
    if (item.fate == from::Item::Fate::mapped || item.fate == from::Item::Fate::unset) continue;
    const bool dropped = item.fate == from::Item::Fate::dropped;
    const std::string verb = context.err.paint(dropped ? Style::yellow : Style::cyan, dropped ? "dropped" : "changed");
    context.note(verb + " " + printable(item.field) + (item.to.empty() ? "" : " → " + printable(item.to)) +
                 (item.note.empty() ? "" : ": " + printable(item.note)) + "  (" +
                 printable(item.at ? item.at->file : arguments.file) + place(item) + ")");
  }
  context.note(std::to_string(mapped) + " mapped, " + std::to_string(made.items.size() - mapped - unset) +
               " to look at, " + std::to_string(unset) + " with nothing to say (--json lists all)");
}

int import_action(Context& context, const ImportArguments& arguments) {
  from::Request request;
  const auto made = import_file(arguments, request);
  if (!made) return report(context, made.error());
  const std::string text = base::pretty_json(made->configuration);
  if (arguments.output) {
    if (auto written = write_new(*arguments.output, text, arguments.force); !written)
      return report(context, written.error());
    for (const from::ExtraFile& file : made->files) {
      const auto written = write_new(request.from / file.name, file.text, arguments.force);
      if (!written) return report(context, written.error());
    }
  }
  if (context.json) {
    Json items = Json::array();
    for (const from::Item& item : made->items) items.push_back(item_json(item));
    Json files = Json::array();
    for (const from::ExtraFile& file : made->files) files.push_back({{"name", file.name}, {"text", file.text}});
    context.print({{"configuration", made->configuration},
                   {"output", arguments.output ? Json(*arguments.output) : Json(nullptr)},
                   {"files", files},
                   {"items", items}});
    return 0;
  }
  if (!arguments.output) context.out.write(text);
  say(context, arguments, *made);
  for (const from::ExtraFile& file : made->files) {
    if (!arguments.output)
      context.warn("the result needs the file " + file.name + ": it is written with --output FILE");
  }
  if (arguments.output)
    context.note("wrote " + printable(*arguments.output) + "; start it: trainctl submit " +
                 printable(*arguments.output));
  return 0;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<ImportArguments>();
  app.add_option("file", arguments->file, "A .runconfig of Azure ML (YAML or JSON) or an MLproject of MLflow")
      ->type_name("FILE")
      ->required();
  app.add_option("-o,--output", arguments->output, "Write the run configuration here instead of to stdout")
      ->type_name("FILE");
  app.add_option("--format", arguments->format, "What the file is, when its name does not say")
      ->type_name("FORMAT")
      ->one_of({"azureml", "mlproject"});
  app.add_option("--entry-point", arguments->entry_point, "Which entry point of an MLproject; default: main")
      ->type_name("NAME");
  app.add_option("-p,--parameter", arguments->parameters, "The value of a parameter of an MLproject")
      ->type_name("NAME=VALUE")
      ->one_value_each();
  app.add_option("--input", arguments->inputs, "Where data of the file's name lies here")
      ->type_name("NAME=PATH")
      ->one_value_each();
  app.add_flag("--force", arguments->force, "Overwrite files that exist");
  return [arguments](Context& context) { return import_action(context, *arguments); };
}

}  // namespace

Command import_command() {
  return {"import",
          "Writing",
          "Turn a run configuration of Azure ML or an MLproject into one of ours",
          false,
          configure,
          Completes::file,
          "What was mapped, changed or dropped is said on stderr, with its place; --json lists every field.\n"
          "  trainctl import .azureml/train.runconfig -o train.run.json"};
}

}  // namespace trainctl::cli
