// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "archive/store.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

namespace fs = std::filesystem;

struct InitArguments {
  std::string script;
  std::string file;
  bool force = false;
};

/// The script a person most likely means: the one they named, else train.py, main.py, or the only Python file here.
Result<std::string> choose_script(const std::string& named) {
  if (!named.empty()) {
    if (base::exists(named)) return named;
    return fail(Errc::not_found, "there is no " + named + " here");
  }
  TRY_ASSIGN(const auto names, base::list_directory("."));
  std::vector<std::string> scripts;
  for (const std::string& name : names) {
    if (name == "train.py" || name == "main.py") return name;
    if (name.ends_with(".py")) scripts.push_back(name);
  }
  if (scripts.size() == 1) return scripts.front();
  if (scripts.empty())
    return fail(Errc::not_found, "there is no Python script in this directory", "trainctl init SCRIPT");
  return fail(Errc::invalid, "there are " + std::to_string(scripts.size()) + " Python scripts here",
              "say which: trainctl init " + scripts.front());
}

std::string environment_line() {
  if (base::exists("uv.lock")) return "  \"environment\": { \"python\": { \"project\": \".\" } },\n";
  if (base::exists("requirements.txt"))
    return "  \"environment\": { \"python\": { \"requirements_file\": \"requirements.txt\" } },\n";
  return "  // \"environment\": { \"python\": { \"version\": \"3.11\", \"packages\": [\"scikit-learn\"] } },\n";
}

std::string configuration(const std::string& name, const std::string& script) {
  return "{\n"
         "  \"name\": " +
         Json(name).dump() +
         ",\n"
         "  \"script\": " +
         Json(script).dump() +
         ",\n"
         "  \"parameters\": {},                        // \"lr\": 0.1 becomes --lr 0.1\n" +
         environment_line() +
         "  // \"limits\": { \"timeout\": \"2h\" },\n"
         "  // \"metrics\": { \"primary\": \"accuracy\", \"goal\": \"maximize\" },\n"
         "}\n";
}

int init_action(Context& context, const InitArguments& arguments) {
  const auto script = choose_script(arguments.script);
  if (!script) return report(context, script.error());
  const std::string name = archive::to_valid_name(fs::path(*script).stem().string());
  const std::string file = arguments.file.empty() ? name + ".run.json" : arguments.file;
  const std::string text = configuration(name, *script);
  if (arguments.force) {
    if (auto written = base::write_file_atomic(file, text, 0644); !written) return report(context, written.error());
  } else {
    const auto written = base::create_exclusive(file, text, 0644);
    if (!written) return report(context, written.error());
    if (!*written)
      return report(context,
                    Error{.code = Errc::invalid, .message = file + " exists", .hint = "--force overwrites it"});
  }
  if (context.json) {
    context.print({{"file", file}});
  } else {
    context.out.line("wrote " + file);
    context.note("start it: trainctl submit " + file);
  }
  return 0;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<InitArguments>();
  app.add_option("script", arguments->script, "The training script; found when there is only one")->type_name("SCRIPT");
  app.add_option("-o,--output", arguments->file, "Write this file instead of NAME.run.json")->type_name("FILE");
  app.add_flag("--force", arguments->force, "Overwrite a file that exists");
  return [arguments](Context& context) { return init_action(context, *arguments); };
}

}  // namespace

Command init_command() {
  return {"init", "Writing", "Write a first run configuration for the script in this directory",
          true,   configure, Completes::file};
}

}  // namespace trainctl::cli
