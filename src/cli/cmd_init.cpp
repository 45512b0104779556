// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
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
    std::error_code ignored;
    if (fs::is_regular_file(named, ignored)) return named;
    if (base::exists(named)) return fail(Errc::invalid, named + " is no file", "trainctl init SCRIPT");
    return fail(Errc::not_found, "there is no " + named + " here");
  }
  for (const char* usual : {"train.py", "main.py"}) {
    if (base::exists(usual)) return usual;
  }
  TRY_ASSIGN(const auto names, base::list_directory("."));
  std::vector<std::string> scripts;
  std::copy_if(names.begin(), names.end(), std::back_inserter(scripts),
               [](const std::string& name) { return name.ends_with(".py"); });
  if (scripts.size() == 1) return scripts.front();
  if (scripts.empty())
    return fail(Errc::not_found, "there is no Python script in this directory", "trainctl init SCRIPT");
  return fail(Errc::invalid, "there are " + std::to_string(scripts.size()) + " Python scripts here",
              "say which: trainctl init " + scripts.front());
}

/// Paths of a run configuration count from the folder it lies in.
struct Places {
  fs::path folder;     ///< of the configuration
  std::string source;  ///< the source directory; empty when it is that folder
  std::string script;  ///< in the source directory
};

bool is_inside(const fs::path& relative) {
  return !relative.empty() && *relative.begin() != "..";
}

/// The source is the folder of the file when the script is in it, else this directory, else the script's own.
Places places_of(const std::string& script, const std::string& file) {
  std::error_code ignored;
  const fs::path path = fs::weakly_canonical(fs::absolute(script, ignored), ignored);
  const fs::path here = fs::current_path(ignored);
  Places places;
  places.folder = fs::weakly_canonical(fs::absolute(file, ignored), ignored).parent_path();
  fs::path root = path.parent_path();
  for (const fs::path& wider : {here, places.folder}) {
    if (is_inside(path.lexically_relative(wider))) root = wider;
  }
  if (root != places.folder) places.source = root.lexically_relative(places.folder).generic_string();
  places.script = path.lexically_relative(root).generic_string();
  return places;
}

std::string environment_line(const fs::path& folder) {
  std::error_code ignored;
  const fs::path here = fs::current_path(ignored);
  if (base::exists("uv.lock")) {
    return "  \"environment\": { \"python\": { \"project\": " +
           Json(here.lexically_relative(folder).generic_string()).dump() + " } },\n";
  }
  if (base::exists("requirements.txt")) {
    return "  \"environment\": { \"python\": { \"requirements_file\": " +
           Json((here / "requirements.txt").lexically_relative(folder).generic_string()).dump() + " } },\n";
  }
  return "  // \"environment\": { \"python\": { \"version\": \"3.11\", \"packages\": [\"scikit-learn\"] } },\n";
}

std::string configuration(const std::string& name, const Places& places) {
  std::string source;
  if (!places.source.empty()) source = "  \"source_directory\": " + Json(places.source).dump() + ",\n";
  return "{\n"
         "  \"name\": " +
         Json(name).dump() + ",\n" + source + "  \"script\": " + Json(places.script).dump() +
         ",\n"
         "  \"parameters\": {},                        // \"lr\": 0.1 becomes --lr 0.1\n" +
         environment_line(places.folder) +
         "  // \"limits\": { \"timeout\": \"2h\" },\n"
         "  // \"metrics\": { \"primary\": \"accuracy\", \"goal\": \"maximize\" },\n"
         "}\n";
}

int init_action(Context& context, const InitArguments& arguments) {
  const auto script = choose_script(arguments.script);
  if (!script) return report(context, script.error());
  const std::string name = archive::to_valid_name(fs::path(*script).stem().string());
  const std::string file = arguments.file.empty() ? name + ".run.json" : arguments.file;
  const std::string text = configuration(name, places_of(*script, file));
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
