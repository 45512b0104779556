// SPDX-License-Identifier: Apache-2.0
#include "cli/launch.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "archive/store.hpp"
#include "base/exit_code.hpp"
#include "base/text.hpp"
#include "cli/attach.hpp"
#include "cli/explain.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "cli/run_summary.hpp"
#include "cli/transfer.hpp"
#include "engine/prepare.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/plan_target.hpp"
#include "host/metrics/patterns.hpp"
#include "spec/load.hpp"
#include "spec/trust.hpp"
#include "target/registry.hpp"
#include "trainctl/error.hpp"

namespace trainctl::cli {
namespace {

/// "local · python 3.11.7 from .venv (active) · 14 files, 212 KB · git 3f2c1e0 + 1 changed file"
std::string headline(const Context& context, const engine::Prepared& prepared) {
  const format::Plan& plan = prepared.plan;
  std::string text = format::target_name(plan);
  if (prepared.environment) text += " · " + prepared.environment->description;
  if (plan.container) text += " · " + engine::container_description(*plan.container);
  if (prepared.snapshot) {
    text += " · " + base::format_count(prepared.snapshot->files) +
            (prepared.snapshot->files == 1 ? " file, " : " files, ") + base::format_size(prepared.snapshot->bytes);
  } else if (plan.in_place()) {
    text += " · in place";
  }
  const auto git = plan.source.find("git");
  if (git != plan.source.end() && git->is_object()) {
    const std::string commit = git->value("commit", "").substr(0, 7);
    text += " · git " + (commit.empty() ? "without a commit" : commit);
    const int changed = git->value("changed", 0) + git->value("untracked", 0);
    if (changed > 0) text += " + " + std::to_string(changed) + (changed == 1 ? " changed file" : " changed files");
  }
  return context.err.paint(Style::bold, plan.name) + "  " + context.err.paint(Style::dim, printable(text));
}

/// A path counts from here, not from the file.
std::string resume_text(const std::string& given) {
  std::error_code ignored;
  const bool is_path = given.find('/') != std::string::npos && !given.starts_with("run:");
  return is_path ? std::filesystem::absolute(given, ignored).string() : given;
}

int detached(Context& context, const format::RunPaths& run, const format::Plan& plan) {
  if (context.json) {
    const auto state = format::fold_run(run);
    if (!state) return report(context, state.error());
    context.print(run_to_json(run, plan, *state));
  } else {
    context.out.line(plan.name);
  }
  return 0;
}

}  // namespace

void add_launch_options(Options& app, LaunchArguments& arguments) {
  app.add_option("-t,--target", arguments.overrides.target, "Where to run: local, a target's name")
      ->type_name("TARGET");
  app.add_option("-n,--name", arguments.overrides.name, "Name of the run; a number is added")->type_name("NAME");
  app.add_option("--experiment", arguments.overrides.experiment, "Experiment it belongs to")->type_name("NAME");
  app.add_option("-p,--param", arguments.overrides.parameters, "Set a parameter, e.g. -p lr=0.01")
      ->type_name("KEY=VALUE")
      ->one_value_each();
  app.add_option("--set", arguments.overrides.set, "Set any field, e.g. --set limits.timeout=2h")
      ->type_name("FIELD=VALUE")
      ->one_value_each();
  app.add_option("--tag", arguments.overrides.tags, "Add a tag, e.g. --tag team=vision")
      ->type_name("KEY=VALUE")
      ->one_value_each();
  app.add_option("--profile", arguments.profile, "Apply a profile of the file")->type_name("NAME");
  app.add_option("--resume", arguments.resume, "Go on from the outputs of this run, or from this path")
      ->type_name("RUN");
  app.add_flag("-d,--detach", arguments.detach, "Do not follow; print the run's name");
  app.add_flag("--no-collect", arguments.no_collect, "Do not wait for the outputs of a run elsewhere");
  app.add_flag("--in-place", arguments.in_place, "Run in the source directory itself, without a copy");
  app.add_flag("--require-clean", arguments.require_clean, "Refuse to run with uncommitted changes");
  app.add_flag("-y,--yes", arguments.accept_large, "Accept a source directory over 1 GB");
  app.add_flag("--dry-run", arguments.dry_run, "Explain what would run, start nothing");
}

spec::LoadOptions load_options(const LaunchArguments& arguments) {
  spec::LoadOptions options;
  options.overrides = arguments.overrides;
  if (arguments.overrides.target)
    options.overrides.target = target::anchor_target(*arguments.overrides.target, std::filesystem::current_path());
  if (arguments.in_place) options.overrides.set.emplace_back("in_place=true");
  if (!arguments.resume.empty()) options.overrides.set.push_back("resume_from=" + resume_text(arguments.resume));
  if (!arguments.profile.empty()) options.profile = arguments.profile;
  options.user_config = spec::default_user_config();
  options.trusted = spec::default_trust_list();
  options.target_defaults = target::target_defaults;
  options.check_patterns = [](const std::vector<std::string>& patterns) { return host::check_patterns(patterns); };
  return options;
}

int report_not_started(Context& context, const Errors& errors, bool bare_command) {
  const int code = bare_command ? 125 : base::exit_code_for(errors.front().code);
  (void)report(context, errors);
  if (!context.json && errors.size() > 1) {
    context.note(std::to_string(errors.size()) + " errors, nothing was started (exit " + std::to_string(code) + ")");
  }
  return code;
}

int launch(Context& context, const spec::LoadedRun& run, const LaunchArguments& arguments) {
  if (auto fits = engine::check_target(run); !fits)
    return report_not_started(context, fits.error(), arguments.bare_command);
  const auto store = archive::Store::open();
  if (!store) return report_not_started(context, {store.error()}, arguments.bare_command);
  if (arguments.dry_run) return explain(context, *store, run, {});
  if (auto writable = store->check_writable(); !writable)
    return report_not_started(context, {writable.error()}, arguments.bare_command);
  TransferLine transfer(context);
  auto prepared = engine::prepare(*store, run,
                                  {.store_snapshot = true,
                                   .bare_command = arguments.bare_command,
                                   .require_clean = arguments.require_clean,
                                   .accept_large = arguments.accept_large,
                                   .argv = context.argv,
                                   .progress = transfer.callback()});
  transfer.finish();
  if (!prepared) return report_not_started(context, prepared.error(), arguments.bare_command);
  for (const std::string& warning : prepared->warnings) context.warn(printable(warning));
  const auto submitted = engine::submit(*store, *prepared, !arguments.detach);
  transfer.finish();
  if (!submitted) return report_not_started(context, {submitted.error()}, arguments.bare_command);
  if (!context.json) {
    context.note(headline(context, *prepared));
    for (const std::string& note : prepared->notes)
      context.note(context.err.paint(Style::dim, "note: " + printable(note)));
  } else if (!arguments.detach) {
    context.print({{"type", "created"}, {"id", prepared->plan.id}, {"name", prepared->plan.name}});
    context.out.flush();
  }
  if (arguments.detach) return detached(context, *submitted, prepared->plan);
  return attach(context, *store, prepared->plan.id,
                {.may_start = true,
                 .pass_exit_code = arguments.bare_command,
                 .summary = true,
                 .collect = !arguments.no_collect,
                 .first_attempt = 1});
}

}  // namespace trainctl::cli
