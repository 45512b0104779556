// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/preparation.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/container/engine.hpp"
#include "host/container/image.hpp"
#include "host/distribution/layout.hpp"
#include "host/distribution/mpi.hpp"
#include "host/environment/environment.hpp"
#include "host/environment/request.hpp"
#include "host/linux/process.hpp"
#include "host/linux/process_tree.hpp"
#include "host/supervisor/launch.hpp"
#include "host/supervisor/node_tree.hpp"
#include "host/supervisor/run_inputs.hpp"
#include "host/supervisor/spare_tree.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

using format::Cause;

constexpr std::uint64_t kQuickFiles = 200;
constexpr std::uint64_t kQuickBytes = 4U << 20U;
constexpr std::uint64_t kNotQuick = UINT64_MAX;

bool has_snapshot(const format::Plan& plan) {
  return plan.source.value("kind", "none") == "snapshot";
}

bool resumes(const format::Plan& plan, int attempt) {
  return plan.retry.resume && attempt > 1;
}

/// Scripts choose the newest checkpoint by its time. What cannot be set is left.
void keep_times(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code problem;
  for (std::filesystem::recursive_directory_iterator it(from, problem), end; !problem && it != end;
       it.increment(problem)) {
    std::error_code ignored;
    if (!it->is_regular_file(ignored) || it->is_symlink(ignored)) continue;
    const auto written = it->last_write_time(ignored);
    if (!ignored) std::filesystem::last_write_time(to / it->path().lexically_relative(from), written, ignored);
  }
}

Result<> copy_outputs(const format::AttemptPaths& from, const format::AttemptPaths& to) {
  if (!base::exists(from.outputs())) return {};
  std::error_code problem;
  using Option = std::filesystem::copy_options;
  std::filesystem::copy(from.outputs(), to.outputs(),
                        Option::recursive | Option::copy_symlinks | Option::overwrite_existing, problem);
  if (problem) return fail(Errc::store, "cannot copy the outputs of the last attempt: " + problem.message());
  keep_times(from.outputs(), to.outputs());
  return {};
}

/// Fills `draft` as work/ shall be.
Result<> fill_work(const format::Plan& plan, const format::RunPaths& run, int attempt, const format::AttemptPaths& to) {
  if (has_snapshot(plan) && !unpacks_on_node(plan)) {
    TRY_ASSIGN(const auto store, snapshot::Store::open(run.store()));
    TRY(make_source_tree(store, plan, to.work()));
  }
  TRY(base::make_directories(to.outputs()));
  for (const format::PlanOutput& output : plan.outputs) {
    TRY(base::make_directories((to.outputs() / output.path).parent_path()));  // a script opens the file it was told of
  }
  if (resumes(plan, attempt)) TRY(copy_outputs(run.attempt(attempt - 1), to));
  return {};
}

/// work/ appears whole or not at all: a preparer that outlived its killed supervisor cannot spoil it.
Result<> prepare_work(const format::Plan& plan, const format::RunPaths& run, const PreparationOptions& options) {
  const int attempt = options.attempt;
  const format::AttemptPaths paths = run.attempt(attempt);
  if (options.afresh) TRY(base::remove_tree(paths.work()));
  if (!has_snapshot(plan) && !resumes(plan, attempt)) {
    TRY(base::make_directory(paths.work()));
    TRY(base::make_directory(paths.outputs()));
    return {};
  }
  if (base::exists(paths.work())) return {};
  const format::AttemptPaths draft{paths.root / (".draft-" + base::new_ulid())};
  TRY(base::make_directories(draft.root));
  auto filled = fill_work(plan, run, attempt, draft);
  if (filled && ::rename(draft.work().c_str(), paths.work().c_str()) != 0 && !base::exists(paths.work())) {
    filled = fail_errno("move the working directory into place", errno);
  }
  (void)base::remove_tree(draft.root);
  return filled;
}

Result<BuiltEnvironment> build_environment(const format::Plan& plan, const format::RunPaths& run, int attempt) {
  const format::AttemptPaths paths = run.attempt(attempt);
  TRY(base::make_directories(paths.logs()));
  TRY_ASSIGN(const auto request, environment_request_from_json(plan.environment));
  TRY_ASSIGN(const auto log, base::open_file(paths.environment_log(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW));
  EnsureOptions options;
  options.root = format::StorePaths{run.store()}.environments();
  options.log_fd = log.get();
  // The tools' own lines already tell the phases; only waiting for another builder happens without them.
  options.progress = [&log](const std::string& text) {
    if (text.starts_with("waiting")) (void)base::write_all(log.get(), "== " + text + "\n");
  };
  options.directory = source_root(plan, paths);
  return ensure(request, options);
}

/// A run that asks for no Python of its own and is no Python program goes on where the host has none.
bool goes_without_python(const format::Plan& plan) {
  const auto request = environment_request_from_json(plan.environment);
  const bool program =
      plan.command.kind == format::CommandKind::exec || plan.command.kind == format::CommandKind::shell;
  return request && request->kind == EnvironmentKind::system && request->setup.empty() && program;
}

/// Empty when the run has no environment.
Result<std::optional<BuiltEnvironment>> environment_of(const format::Plan& plan, const format::RunPaths& run,
                                                       int attempt) {
  if (plan.environment.is_null()) return std::nullopt;
  auto built = build_environment(plan, run, attempt);
  if (!built && goes_without_python(plan)) return std::nullopt;
  if (!built) return fail(std::move(built).error());
  return std::move(*built);
}

tl::unexpected<PreparationError> environment_failed(const Error& error) {
  return tl::make_unexpected(PreparationError{
      Cause::environment, error.hint.empty() ? error.message : error.message + " (" + error.hint + ")"});
}

Json to_json(const PreparationResult& result) {
  if (!result) {
    return {{"cause", to_string(result.error().cause)}, {"message", result.error().message}};
  }
  Json json = {{"environment", result->environment.empty() ? Json(nullptr) : Json(result->environment)}};
  if (result->container) json["container"] = {{"image", host::to_json(*result->container)}, {"python", result->python}};
  if (result->mpi) {
    json["mpi"] = {
        {"path", result->mpi->path}, {"kind", static_cast<int>(result->mpi->kind)}, {"version", result->mpi->version}};
  }
  return json;
}

Result<std::string> registry_password(const format::Plan& plan, const format::RunPaths& run) {
  if (plan.container->registry_secret.empty()) return std::string();
  TRY_ASSIGN(const std::string text, base::read_file(format::StorePaths{run.store()}.secrets(run.id()), 1U << 20U));
  TRY_ASSIGN(const Json json, base::parse_json(text));
  return json.value(plan.container->registry_secret, "");
}

/// The image, and the program that has to lie in the container.
Result<Prepared> prepare_container(const format::Plan& plan, const format::RunPaths& run, int attempt) {
  const format::AttemptPaths paths = run.attempt(attempt);
  TRY(base::make_directories(paths.logs()));
  TRY_ASSIGN(const auto log, base::open_file(paths.environment_log(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW));
  ImageOptions options{
      .log_fd = log.get(), .password = {}, .scratch = format::StorePaths{run.store()}.secrets("x").parent_path()};
  TRY_ASSIGN(options.password, registry_password(plan, run));
  TRY(runner_program());
  Prepared prepared;
  TRY_ASSIGN(prepared.container, ensure_image(*plan.container, options));
  prepared.python = plan.container->python;
  return prepared;
}

Prepared with_environment(const BuiltEnvironment& built) {
  Prepared prepared;
  prepared.python = built.python;
  prepared.variables = built.variables;
  prepared.environment = base::dump_json(host::to_json(built));
  return prepared;
}

PreparationResult from_json(const Json& json) {
  const auto failed = [](Cause cause, std::string message) {
    return tl::make_unexpected(PreparationError{cause, std::move(message)});
  };
  if (const auto cause = json.find("cause"); cause != json.end()) {
    return failed(format::parse_cause(cause->get<std::string>()).value_or(Cause::start), json.value("message", ""));
  }
  Prepared prepared;
  if (const auto text = json.find("environment"); text != json.end() && text->is_string()) {
    const auto environment = base::parse_json(text->get<std::string>());
    const auto built = environment ? built_environment_from_json(*environment)
                                   : Result<BuiltEnvironment>(tl::make_unexpected(environment.error()));
    if (!built) return failed(Cause::environment, built.error().message);
    prepared = with_environment(*built);
  }
  if (const auto container = json.find("container"); container != json.end()) {
    auto image = container_image_from_json(container->value("image", Json()));
    if (!image) return failed(Cause::environment, image.error().message);
    prepared.container = std::move(*image);
    prepared.python = container->value("python", prepared.python);
  }
  if (const auto mpi = json.find("mpi"); mpi != json.end()) {
    prepared.mpi =
        MpiLauncher{mpi->value("path", ""), static_cast<MpiKind>(mpi->value("kind", 0)), mpi->value("version", "")};
  }
  return prepared;
}

/// mpiexec comes from the environment that was built, or from the machine: so it is looked for last.
PreparationResult with_mpi(const format::Plan& plan, Prepared prepared) {
  if (!uses_mpi(plan)) return prepared;
  auto found = find_mpi(plan, prepared);
  if (!found) {
    return tl::make_unexpected(PreparationError{Cause::start, found.error().message + ": " + found.error().hint});
  }
  prepared.mpi = std::move(*found);
  return prepared;
}

PreparationResult died(int status) {
  const std::string how = WIFSIGNALED(status) ? "was killed by " + signal_name(WTERMSIG(status))
                                              : "ended with code " + std::to_string(WEXITSTATUS(status));
  return tl::make_unexpected(PreparationError{Cause::start, "the process that prepares the run " + how});
}

}  // namespace

bool is_quick_to_prepare(const format::Plan& plan, int attempt) {
  if (!plan.environment.is_null() || plan.container || resumes(plan, attempt) || copies_inputs(plan) || uses_mpi(plan))
    return false;
  if (!has_snapshot(plan)) return true;
  const auto files = plan.source.value("files", kNotQuick);
  const auto bytes = plan.source.value("bytes", kNotQuick);
  return files <= kQuickFiles && bytes <= kQuickBytes;
}

std::string preparation_message(const format::Plan& plan) {
  if (plan.container) return "preparing the container image";
  if (!plan.environment.is_null()) return "preparing the environment";
  return copies_inputs(plan) ? "copying source and inputs" : "copying the source";
}

PreparationResult prepare_attempt(const format::Plan& plan, const format::RunPaths& run,
                                  const PreparationOptions& options) {
  if (options.work) {
    auto work = copy_inputs(plan, run, options.attempt);
    if (work) work = prepare_work(plan, run, options);
    if (!work) return tl::make_unexpected(PreparationError{Cause::start, work.error().message});
  }
  if (unpacks_on_node(plan)) {
    if (auto filled = fill_node_tree(plan, run, options.attempt); !filled)
      return tl::make_unexpected(PreparationError{Cause::start, filled.error().message});
  }
  if (plan.container) {
    auto container = prepare_container(plan, run, options.attempt);
    if (!container) return environment_failed(container.error());
    return std::move(*container);
  }
  const auto built = environment_of(plan, run, options.attempt);
  if (!built) return environment_failed(built.error());
  return with_mpi(plan, *built ? with_environment(**built) : Prepared{});
}

tl::expected<void, PreparationError> prepare_ahead(const format::Plan& plan, const format::RunPaths& run, int attempt) {
  const format::AttemptPaths paths = run.attempt(attempt);
  auto work = base::make_directories(paths.root);
  if (work) work = prepare_work(plan, run, {.attempt = attempt});
  if (!work) return tl::make_unexpected(PreparationError{Cause::start, work.error().message});
  if (plan.container) return {};  // the image is got where the ranks run
  if (plan.environment.is_null()) return {};
  std::optional<NodeTree> here;  // an environment may be described by the source
  if (unpacks_on_node(plan)) {
    auto claimed = NodeTree::claim(paths);
    auto filled = claimed ? fill_node_tree(plan, run, attempt) : Result<>(tl::make_unexpected(claimed.error()));
    if (!filled) return tl::make_unexpected(PreparationError{Cause::start, filled.error().message});
    here.emplace(std::move(*claimed));
  }
  const auto built = environment_of(plan, run, attempt);
  if (!built) return environment_failed(built.error());
  return {};
}

Preparation::~Preparation() {
  if (busy()) signal(SIGKILL);
}

Result<> Preparation::start(const format::Plan& plan, const format::RunPaths& run, const PreparationOptions& options,
                            Done done) {
  result_.reset(::memfd_create("trainctl-preparation", MFD_CLOEXEC));
  if (!result_) return fail_errno("start preparing", errno);
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("start a process", errno);
  if (pid == 0) {
    const std::array keep = {result_.get()};
    close_descriptors_except(keep);
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // the next supervisor prepares again
    reset_signals();
    set_process_name("trainctl-prepar");
    const auto prepared = prepare_attempt(plan, run, options);
    const std::string text = base::dump_json(to_json(prepared));
    if (prepared && options.spare) make_spare_aside(plan, run);
    ::_exit(base::write_all(result_.get(), text) ? 0 : 1);
  }
  ::setpgid(pid, pid);
  child_ = pid;
  done_ = std::move(done);
  reactor_.on_child(pid, [this](int status, std::uint64_t) { finish(status); });
  return {};
}

void Preparation::finish(int status) {
  child_ = 0;
  std::string text;
  struct stat file{};
  if (status == 0 && ::fstat(result_.get(), &file) == 0) {
    text.resize(static_cast<std::size_t>(file.st_size));
    if (::pread(result_.get(), text.data(), text.size(), 0) != file.st_size) text.clear();
  }
  result_.reset();
  const auto json = base::parse_json(text);
  const Done done = std::move(done_);
  done(json && json->is_object() ? from_json(*json) : died(status));
}

void Preparation::signal(int number) const {
  if (!busy()) return;
  if (number == SIGKILL) {
    const std::array roots = {child_};
    for (const ProcessStatus& process : descendants(list_processes(), roots)) ::kill(process.pid, SIGKILL);
  }
  ::kill(-child_, number);
}

}  // namespace trainctl::host
