// SPDX-License-Identifier: Apache-2.0
#include "engine/prepare.hpp"

#include <cstdint>
#include <filesystem>
#include <future>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "archive/store.hpp"
#include "base/background.hpp"
#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "engine/check_elsewhere.hpp"
#include "engine/elsewhere.hpp"
#include "engine/inputs.hpp"
#include "engine/plan_mapping.hpp"
#include "engine/reach.hpp"
#include "engine/resume.hpp"
#include "engine/secrets.hpp"
#include "engine/supervision.hpp"
#include "format/input_list.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/environment/interpreter.hpp"
#include "host/environment/request.hpp"
#include "host/resources/capacity.hpp"
#include "snapshot/git_state.hpp"
#include "snapshot/scan.hpp"
#include "snapshot/snapshot.hpp"
#include "spec/load.hpp"
#include "spec/run_configuration.hpp"
#include "spec/validate.hpp"
#include "target/cancel.hpp"
#include "target/registry.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"
#include "trainctl/version.hpp"

namespace trainctl::engine {
namespace {

namespace fs = std::filesystem;

void record_who(const PrepareOptions& options, const Prepared& prepared, format::Plan& plan) {
  std::error_code ignored;
  plan.created = base::format_utc(base::wall_now());
  plan.who = {{"user", base::user_name()},
              {"host", base::host_name()},
              {"machine", base::machine_id()},
              {"client", version()},
              {"directory", fs::current_path(ignored).string()},
              {"argv", options.argv}};
  // A script that starts runs is their parent.
  if (const auto parent = base::get_env("TRAINCTL_RUN_ID"); parent && base::is_ulid(*parent))
    plan.who["parent"] = *parent;
  if (prepared.environment) plan.who["environment"] = prepared.environment->description;
  if (plan.container) plan.who["environment"] = container_description(*plan.container);
}

/// The repository's state into the record; a dirty tree is an error when the person asked for a clean one.
Result<> record_git(const snapshot::GitAnswer& answer, const fs::path& source, bool require_clean, Prepared& prepared) {
  if (!answer.why_not.empty()) {
    if (require_clean) return fail(Errc::invalid, "--require-clean cannot be checked: " + answer.why_not);
    prepared.warnings.push_back("the state of the git repository is not recorded: " + answer.why_not);
  }
  if (!answer.state) {
    if (require_clean)
      return fail(Errc::invalid, source.string() + " is in no git repository, --require-clean cannot hold");
    return {};
  }
  const snapshot::GitState& git = *answer.state;
  if (require_clean && git.dirty()) {
    return fail(Errc::invalid,
                "there are uncommitted changes: " + std::to_string(git.changed) + " changed and " +
                    std::to_string(git.untracked) + " untracked files on top of " + git.commit.substr(0, 7),
                "commit them, or leave out --require-clean");
  }
  prepared.plan.source["git"] = {{"commit", git.commit},     {"branch", git.branch},
                                 {"remote", git.remote_url}, {"dirty", git.dirty()},
                                 {"changed", git.changed},   {"untracked", git.untracked},
                                 {"patch", git.patch},       {"patch_truncated", git.patch_truncated}};
  return {};
}

Result<> take_snapshot(const archive::Store& store, const spec::LoadedRun& run, const PrepareOptions& options,
                       Prepared& prepared) {
  const fs::path source = source_directory(run);
  snapshot::TakeOptions take{.source = source, .store = store.paths().root};
  for (const spec::Secret& secret : run.config.secrets) {
    if (secret.file) take.secrets.push_back(run.base_directory / *secret.file);
  }
  if (options.accept_large) take.max_bytes = UINT64_MAX;
  if (options.progress) {
    take.progress = [&](const snapshot::Progress& progress) {
      options.progress({.what = "snapshot",
                        .files = progress.files_to_read,
                        .files_done = progress.files,
                        .bytes = progress.bytes_to_read,
                        .bytes_done = progress.bytes});
    };
  }
  const snapshot::Contents contents;
  if (options.store_snapshot) {
    auto taken = snapshot::take(take);
    if (!taken && snapshot::is_too_large(taken.error())) {
      return fail(std::move(taken).error().with_hint(
          "leave data out with .trainctlignore, run with --in-place, or accept it with --yes"));
    }
    if (!taken) return fail(std::move(taken).error());
    prepared.snapshot = std::move(*taken);
  } else {
    TRY_ASSIGN(auto preview, snapshot::preview(source, store.paths().root, take.max_bytes, take.secrets));
    snapshot::Snapshot looked;
    static_cast<snapshot::Contents&>(looked) = preview;
    prepared.snapshot = std::move(looked);
    prepared.preview = std::move(preview.items);
  }
  for (const snapshot::LeftOut& left_out : prepared.snapshot->left_out) {
    // Built-in rules are not counted; of those only outputs/ is a surprise, as it holds a person's own files.
    const bool told = left_out.rule == "outputs/" || left_out.rule == snapshot::kSecretRule;
    if (left_out.files > 0 || told) prepared.notes.push_back(snapshot::note(left_out));
  }
  prepared.warnings.insert(prepared.warnings.end(), prepared.snapshot->warnings.begin(),
                           prepared.snapshot->warnings.end());
  prepared.plan.source = {{"kind", "snapshot"},
                          {"digest", prepared.snapshot->digest},
                          {"files", prepared.snapshot->files},
                          {"bytes", prepared.snapshot->bytes},
                          {"directory", source.string()}};
  return {};
}

/// git looks at every file, as the snapshot does: both at once. Nothing is done before get() unless `now`.
std::future<snapshot::GitAnswer> look_at_git(const fs::path& source, bool now) {
  const auto look = [source] { return snapshot::git_state(source); };
  return now ? base::in_background(look) : std::async(std::launch::deferred, look);
}

/// A command that is run as it is needs no copy of the folder it is run in, unless it runs elsewhere.
Result<> add_source(const archive::Store& store, const spec::LoadedRun& run, const PrepareOptions& options, bool here,
                    Prepared& prepared) {
  const fs::path source = source_directory(run);
  // A command that is run as it is records where, not a patch of whatever repository happens to be there.
  const bool with_git = !options.bare_command || options.require_clean;
  auto git = look_at_git(source, with_git);
  if ((options.bare_command && here) || run.config.in_place) {
    prepared.plan.source = {{"kind", "in_place"}, {"directory", source.string()}};
  } else {
    TRY(take_snapshot(store, run, options, prepared));
  }
  if (!with_git) return {};
  return record_git(git.get(), source, options.require_clean, prepared);
}

/// Without either program there is nothing to wait for; whether the one that is there works is seen when the image is
/// looked for.
Result<> check_container_engine(const format::Plan& plan) {
  const std::string& wanted = plan.container->engine;
  for (const char* name : {"docker", "podman"}) {
    if ((wanted.empty() || wanted == name) && base::find_program(name)) return {};
  }
  return fail(Errc::cannot_start,
              wanted.empty() ? "the run is to be in a container, and there is neither docker nor podman on PATH"
                             : "the run is to be in a container, and there is no " + wanted + " on PATH",
              "install podman or docker, or remove environment.container");
}

/// Where the run wants its environment built goes before what the target says.
Json with_build(Json definition, const spec::RunConfiguration& config) {
  if (!config.environment || !config.environment->build || definition.value("launcher", "") != "slurm")
    return definition;
  const bool in_job = *config.environment->build == spec::BuildOn::job;
  definition["slurm"]["environment_build"] = in_job ? "job" : "submit_host";
  return definition;
}

Result<> add_environment(const archive::Store& store, const spec::LoadedRun& run, const PrepareOptions& options,
                         bool here, Prepared& prepared) {
  if (options.bare_command && !run.config.environment) return {};
  if (run.config.environment && run.config.environment->container)
    return here ? check_container_engine(prepared.plan) : Result<>();
  TRY_ASSIGN(auto resolved, host::make_request(map_environment(run, here), source_directory(run),
                                               host::Surroundings::of_process(store.paths().environments())));
  prepared.plan.environment = host::to_json(resolved.request);
  prepared.notes.insert(prepared.notes.end(), resolved.notes.begin(), resolved.notes.end());
  prepared.environment = std::move(resolved);
  return {};
}

/// Set when files of this machine are to be sent to the target. Who only looks (explain) reads no data: paths stay
/// those of this machine.
Result<std::optional<Elsewhere>> open_elsewhere(const archive::Store& store, const Json& definition,
                                                const PrepareOptions& options) {
  if (!options.store_snapshot) return std::nullopt;
  TRY_ASSIGN(const bool sends, takes_files(store, definition));
  if (!sends) return std::nullopt;
  TRY_ASSIGN(auto elsewhere, Elsewhere::open(store, definition, options.progress));
  return std::optional<Elsewhere>(std::move(elsewhere));
}

/// What the run reads besides its inputs.
Result<> add_files(const archive::Store& store, const spec::LoadedRun& run, Elsewhere* elsewhere, Prepared& prepared) {
  TRY(add_resume(store, run, elsewhere, prepared));
  if (elsewhere == nullptr || !prepared.plan.container) return {};
  return elsewhere->send_container(*prepared.plan.container);
}

/// What this machine can never give is refused before anything is recorded.
Result<> check_host(const spec::Resources& wanted) {
  if (!wanted.cpus && !wanted.memory) return {};
  const host::Capacity capacity = host::read_capacity();
  if (wanted.cpus && *wanted.cpus > capacity.cpus) {
    return fail(Errc::cannot_start,
                "the run wants " + base::format_number(*wanted.cpus) + " cpus, this machine has " +
                    base::format_number(capacity.cpus),
                "lower resources.cpus");
  }
  if (wanted.memory && wanted.memory->bytes > capacity.memory) {
    return fail(Errc::cannot_start,
                "the run wants " + base::format_size(wanted.memory->bytes) + " of memory, this machine has " +
                    base::format_size(capacity.memory),
                "lower resources.memory");
  }
  return {};
}

void append(Errors& errors, Errors more) {
  for (Error& error : more) errors.push_back(std::move(error));
}

void keep(Errors& errors, Result<> done) {
  if (!done) errors.push_back(std::move(done).error());
}

}  // namespace

ResultAll<Prepared> prepare(const archive::Store& store, const spec::LoadedRun& written,
                            const PrepareOptions& options) {
  Prepared prepared;
  spec::LoadedRun run = written;
  prepared.notes = run.notes;
  prepared.name = run.name;
  Errors errors = options.bare_command ? Errors{} : spec::check_files(run.config, run.base_directory, run.origins);
  auto definition = target::resolve_target(run.config, run.base_directory);
  if (!definition) return tl::make_unexpected(std::move(definition).error());
  const auto sends = takes_files(store, *definition);
  if (!sends) return tl::make_unexpected(Errors{sends.error()});
  const bool here = !*sends;
  if (!here) append(errors, check_elsewhere(run, *definition));
  auto elsewhere = open_elsewhere(store, *definition, options);
  if (!elsewhere) return tl::make_unexpected(Errors{std::move(elsewhere).error()});
  Elsewhere* const there = *elsewhere ? &**elsewhere : nullptr;
  if (options.store_snapshot) {
    auto reaching = Reaching::begin(*definition, static_cast<int>(run.config.resources.nodes), store.paths().root);
    if (!reaching) return tl::make_unexpected(Errors{std::move(reaching).error()});
    prepared.reaching = std::move(*reaching);
  }
  append(errors, resolve_inputs(store, run, there));
  if (!errors.empty()) return tl::make_unexpected(std::move(errors));
  auto plan = map_plan(run);
  if (!plan) return tl::make_unexpected(std::move(plan).error());
  prepared.plan = std::move(*plan);
  prepared.plan.target = with_build(std::move(*definition), run.config);
  keep(errors, add_files(store, run, there, prepared));
  auto secrets = read_secrets(run, options.store_snapshot);
  if (secrets) {
    prepared.secrets = std::move(*secrets);
  } else {
    append(errors, std::move(secrets).error());
  }
  keep(errors, add_environment(store, run, options, here, prepared));
  if (errors.empty()) keep(errors, add_source(store, run, options, here, prepared));
  if (!errors.empty()) return tl::make_unexpected(std::move(errors));
  record_who(options, prepared, prepared.plan);
  if (there != nullptr) prepared.sent = std::move(*there).take();
  prepared.progress = options.progress;
  return prepared;
}

Result<format::RunPaths> create(const archive::Store& store, Prepared& prepared) {
  prepared.plan.id = base::new_ulid();
  TRY_ASSIGN(prepared.plan.name, store.claim_name(archive::to_valid_name(prepared.name), prepared.plan.id));
  if (!prepared.secrets.empty()) {
    Json values = Json::object();
    for (const auto& [name, value] : prepared.secrets) values[name] = value;
    const fs::path file = store.paths().secrets(prepared.plan.id);
    TRY(base::make_directories(file.parent_path()));
    TRY(base::write_file_durable(file, base::dump_json(values)));
  }
  TRY_ASSIGN(format::RunPaths run, store.create_run(prepared.plan, base::new_ulid()));
  if (!prepared.sent.empty()) TRY(format::write_sent_inputs(run.sent_inputs(), prepared.sent));
  return run;
}

Result<format::RunPaths> submit(const archive::Store& store, Prepared& prepared, bool followed) {
  TRY_ASSIGN(auto target, target::open_target(prepared.plan.target, store.paths().root));
  if (prepared.reaching) TRY(prepared.reaching->wait());
  TRY_ASSIGN(format::RunPaths run, create(store, prepared));
  TRY_ASSIGN(const auto cancel, target::Cancel::create());
  auto launched = launch(run, *target, cancel, {.progress = prepared.progress, .followed = followed});
  if (launched) return run;
  Error error = std::move(launched).error();
  if (error.retryable) error.hint = "whether it began is not known; trainctl attach " + prepared.plan.name + " goes on";
  return fail(std::move(error).with_context("launch " + prepared.plan.name));
}

ResultAll<> check_target(const spec::LoadedRun& run) {
  auto definition = target::resolve_target(run.config, run.base_directory);
  if (!definition) return tl::make_unexpected(std::move(definition).error());
  if (auto enough = check_nodes(run, *definition); !enough)
    return tl::make_unexpected(Errors{std::move(enough).error()});
  if (definition->value("type", "") != "local") return {};
  auto fits = check_host(run.config.resources);
  if (!fits) return tl::make_unexpected(Errors{std::move(fits).error()});
  return {};
}

std::string container_description(const format::PlanContainer& container) {
  return container.image.empty() ? "image of " + container.dockerfile : "image " + container.image;
}

}  // namespace trainctl::engine
