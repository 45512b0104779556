// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/launch.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "cli/time_text.hpp"
#include "engine/plan_mapping.hpp"
#include "host/environment/environment.hpp"
#include "host/environment/interpreter.hpp"
#include "host/environment/request.hpp"
#include "spec/load.hpp"
#include "trainctl/error.hpp"

namespace trainctl::cli {
namespace {

struct EnvArguments {
  std::string sub;
  std::string file;
  std::vector<std::string> keys;
  bool upgrade = false;
};

using Root = std::filesystem::path;

Json info_json(const host::EnvironmentInfo& info) {
  return {{"key", info.key},
          {"kind", info.kind},
          {"description", info.description},
          {"python", info.python_version},
          {"created", info.created},
          {"bytes", info.bytes},
          {"packages", info.packages},
          {"complete", info.complete},
          {"in_use", info.in_use},
          {"path", info.path.string()}};
}

int list(Context& context, const Root& root) {
  const auto environments = host::list_environments(root);
  if (!environments) return report(context, environments.error());
  if (context.json) {
    Json items = Json::array();
    for (const host::EnvironmentInfo& info : *environments) items.push_back(info_json(info));
    context.print({{"items", items}});
    return 0;
  }
  if (environments->empty()) context.note("no environments yet: the first run that needs one builds it");
  for (const host::EnvironmentInfo& info : *environments) {
    const std::string used = relative_text(base::WallTime(std::chrono::seconds(info.last_used)), base::wall_now());
    context.out.line(host::short_key(info.key) + "  " + printable(info.description) + "  " +
                     base::format_size(info.bytes) + "  used " + used + (info.complete ? "" : "  (unfinished)") +
                     (info.in_use ? "  (in use)" : ""));
  }
  return 0;
}

int show(Context& context, const Root& root, const EnvArguments& arguments) {
  const auto info = host::show_environment(root, arguments.keys.front());
  if (!info) return report(context, info.error());
  if (context.json) {
    context.print(info_json(*info));
    return 0;
  }
  context.out.line(info->key);
  context.out.line("  " + printable(info->description) + "  " + base::format_size(info->bytes) + "  " +
                   info->path.string());
  if (!info->record.empty()) context.out.write(info->record);
  return 0;
}

int remove(Context& context, const Root& root, const EnvArguments& arguments) {
  Errors errors;
  Json items = Json::array();
  for (const std::string& key : arguments.keys) {
    const auto freed = host::remove_environment(root, key);
    if (!freed) {
      errors.push_back(freed.error());
      continue;
    }
    items.push_back({{"key", key}, {"bytes", *freed}});
    if (!context.json) context.note("removed " + key + ", " + base::format_size(*freed));
  }
  if (!errors.empty()) return report(context, errors);
  if (context.json) context.print({{"items", items}});
  return 0;
}

/// build and lock: for the environment a file asks for.
int make(Context& context, const Root& root, const EnvArguments& arguments) {
  spec::LoadOptions options = load_options({});
  options.path = arguments.file;
  const auto run = spec::load_run(options);
  if (!run) return report(context, run.error());
  if (run->config.environment && run->config.environment->container) {
    return report(context, Error{.code = Errc::invalid,
                                 .message = "the environment is a container: its image is prepared with the run",
                                 .hint = "trainctl submit " + arguments.file});
  }
  const auto resolved = host::make_request(engine::map_environment(*run), engine::source_directory(*run),
                                           host::Surroundings::of_process(root));
  if (!resolved) return report(context, resolved.error());
  host::EnsureOptions ensure;
  ensure.root = root;
  ensure.upgrade = arguments.upgrade;
  ensure.directory = engine::source_directory(*run);
  ensure.log_fd = context.quiet || context.json ? -1 : STDERR_FILENO;
  ensure.progress = [&](const std::string& phase) { context.note(context.err.paint(Style::dim, printable(phase))); };
  context.out.flush();
  if (arguments.sub == "lock") {
    const auto lock = host::lock_environment(resolved->request, ensure);
    if (!lock) return report(context, lock.error());
    context.out.write(*lock);
    return 0;
  }
  const auto built = host::ensure(resolved->request, ensure);
  if (!built) return report(context, built.error());
  if (context.json) {
    context.print(host::to_json(*built));
  } else {
    context.out.line(built->python.string());
  }
  return 0;
}

int env_action(Context& context, const EnvArguments& arguments) {
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  const Root root = store->paths().environments();
  const bool writes = arguments.sub == "rm" || arguments.sub == "build" || arguments.sub == "lock";
  if (const auto writable = store->check_writable(); writes && !writable) return report(context, writable.error());
  if (arguments.sub == "show") return show(context, root, arguments);
  if (arguments.sub == "rm") return remove(context, root, arguments);
  if (arguments.sub == "build" || arguments.sub == "lock") return make(context, root, arguments);
  return list(context, root);
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<EnvArguments>();
  std::string& chosen = arguments->sub;
  app.add_subcommand("ls", "List the environments that are kept", chosen);
  app.add_subcommand("show", "Show one, with everything in it", chosen)
      .add_option("key", arguments->keys, "The first digits of its key")
      ->type_name("KEY")
      ->required()
      ->expected(1, 1);
  app.add_subcommand("rm", "Remove environments that no run uses", chosen)
      .add_option("key", arguments->keys, "The first digits of their keys")
      ->type_name("KEY")
      ->required();
  Options build = app.add_subcommand("build", "Build the environment of a file now; prints its Python", chosen);
  Options lock = app.add_subcommand("lock", "Resolve the environment of a file; prints the exact versions", chosen);
  for (Options* sub : {&build, &lock}) {
    sub->add_option("file", arguments->file, "The run configuration")->type_name("FILE")->required();
    sub->add_flag("--upgrade", arguments->upgrade, "Resolve again to the newest versions that fit");
  }
  return [arguments](Context& context) { return env_action(context, *arguments); };
}

}  // namespace

Command env_command() {
  return {"env", "Keeping", "List, show, build, lock and remove environments", false, configure};
}

}  // namespace trainctl::cli
