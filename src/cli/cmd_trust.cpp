// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "base/file.hpp"
#include "base/json.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "spec/load.hpp"
#include "spec/trust.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

namespace fs = std::filesystem;

struct TrustArguments {
  std::string path = ".";
  bool list = false;
  bool revoke = false;
};

int print_list(Context& context, const spec::TrustList& list) {
  Json items = Json::array();
  for (const auto& [file, hash] : list.files()) {
    const auto content = base::read_file(file, base::kMaxJsonBytes);
    const bool same = content && list.trusts(file, *content);
    items.push_back({{"file", file}, {"sha256", hash}, {"trusted", same}});
    if (!context.json) context.out.line(printable(file) + (same ? "" : "  (not as it is now: it has changed or gone)"));
  }
  if (context.json) context.print({{"items", std::move(items)}});
  return 0;
}

/// The settings that `path` means: a file itself, else the trainctl.json that applies in the folder.
Result<fs::path> settings_of(const std::string& path) {
  std::error_code problem;
  if (!fs::is_directory(path, problem)) {
    if (base::exists(path)) return fs::path(path);
    return fail(Errc::not_found, path + " does not exist");
  }
  if (const auto found = spec::find_project(path)) return *found;
  return fail(Errc::not_found, "there is no trainctl.json in " + path + " or above it in its repository");
}

int trust_action(Context& context, const TrustArguments& arguments) {
  const auto place = spec::default_trust_list();
  if (!place)
    return report(context, Error{.code = Errc::invalid, .message = "there is no home folder: HOME is not set"});
  auto list = spec::TrustList::load(*place);
  if (!list) return report(context, list.error());
  if (arguments.list) return print_list(context, *list);
  // What was trusted can be taken back when the file is gone.
  const auto file = arguments.revoke && !base::exists(arguments.path) ? Result<fs::path>(arguments.path)
                                                                      : settings_of(arguments.path);
  if (!file) return report(context, file.error());
  if (arguments.revoke) {
    if (!list->revoke(*file)) {
      return report(context, Error{.code = Errc::not_found, .message = file->string() + " is not trusted"});
    }
  } else {
    const auto content = base::read_file(*file, base::kMaxJsonBytes);
    if (!content) return report(context, content.error());
    list->trust(*file, *content);
  }
  if (auto saved = list->save(*place); !saved) return report(context, saved.error());
  if (context.json) {
    context.print({{"file", fs::weakly_canonical(*file).string()}, {"trusted", !arguments.revoke}});
  } else {
    context.note((arguments.revoke ? "no longer trusted: " : "trusted as it is now: ") + printable(file->string()));
  }
  return 0;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<TrustArguments>();
  app.add_option("path", arguments->path,
                 "A project's folder, its trainctl.json, or one of its target files (default: here)")
      ->type_name("PATH");
  app.add_flag("--list", arguments->list, "Print what is trusted");
  app.add_flag("--revoke", arguments->revoke, "Trust it no longer");
  return [arguments](Context& context) { return trust_action(context, *arguments); };
}

}  // namespace

Command trust_command() {
  return {
      "trust",
      "Writing",
      "Let a project's trainctl.json or target file define commands",
      false,
      configure,
      Completes::file,
      "Commands are what runs on this machine before a run does: a secret's command, a target's ssh. A file\n"
      "that came with a repository may define them only once you have read it and said so. Another content, after a\n"
      "pull for one, is asked about again. A run configuration that you submit yourself needs no trust."};
}

}  // namespace trainctl::cli
