// SPDX-License-Identifier: Apache-2.0
#include "host/supervise.hpp"

#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/process.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/detach.hpp"
#include "host/gang/membership.hpp"
#include "host/linux/process.hpp"
#include "host/supervisor/garbage.hpp"
#include "host/supervisor/reactor.hpp"
#include "host/supervisor/run_supervision.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSupervised = "supervised";
constexpr std::string_view kAlready = "already";
constexpr int kStoreExit = 6;
constexpr int kNewbornMs = 2000;

void report(const SuperviseOptions& options, std::string_view text) {
  if (options.report_fd < 0) return;
  (void)base::write_all(options.report_fd, text);
  ::close(options.report_fd);
}

/// Only processes of the same machine and pid namespace can be watched.
Result<> check_machine(const format::RunPaths& run) {
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  if (!state.lead.is_object() || !state.end.is_null()) return {};
  const std::string machine = state.lead.value("machine", "");
  if (machine != base::machine_id()) {
    return fail(Errc::unavailable, "the run is supervised on another machine (" + machine + ")");
  }
  if (state.lead.value("boot", "") == base::boot_id() && state.lead.value("pidns", "") != base::pid_namespace()) {
    return fail(Errc::unavailable, "the run was started in another container of this machine");
  }
  return {};
}

/// A supervisor that is killed right after a fork leaves the lock to the newborn waiter until that has closed its
/// descriptors. It is not "already supervised" then, so such a moment is waited for.
Result<std::optional<base::FileLock>> take_lock(const fs::path& path) {
  TRY_ASSIGN(auto lock, base::FileLock::try_acquire(path));
  if (lock) return lock;
  const auto holder = base::lock_holder(path);
  const auto started = holder ? base::process_start_time(*holder) : std::nullopt;
  if (!holder || (started && is_alive({.pid = *holder, .start_time = *started}))) return std::nullopt;
  auto late = base::FileLock::acquire(path, kNewbornMs);
  if (late) return std::move(*late);
  return std::nullopt;
}

Result<bool> supervise(const format::RunPaths& run, const SuperviseOptions& options) {
  TRY_ASSIGN(auto lock, take_lock(run.supervisor_lock()));
  if (!lock) {
    report(options, kAlready);
    return false;
  }
  TRY(check_machine(run));
  TRY_ASSIGN(auto plan, format::read_plan(run.plan()));
  format::resolve_store_mark(plan, run.store());
  TRY_ASSIGN(auto reactor, Reactor::create());
  sweep_secrets(format::StorePaths{run.store()});
  plan.spec = nullptr;  // for people and the index; a supervisor keeps what it uses
  plan.origins = nullptr;
  ::signal(SIGPIPE, SIG_IGN);
  become_subreaper();
  // The caller is let go when the record is open: what fails before (a full disk) can be told nowhere else.
  std::optional<Error> failure;
  SupervisionOptions how{.user_mask = options.user_mask, .start_unstarted = options.start_unstarted};
  how.prove_lead = options.prove_lead;
  how.opened = [&](const Error* problem) {
    if (problem != nullptr) failure = *problem;
    if (problem == nullptr) report(options, kSupervised);
  };
  reactor->add(std::make_unique<RunSupervision>(*reactor, run, std::move(plan), std::move(*lock), std::move(how)));
  ::malloc_trim(0);
  reactor->loop();
  if (failure) return fail(std::move(*failure));
  return true;
}

}  // namespace

int supervise_main(const fs::path& run_dir, const SuperviseOptions& options) {
  const format::RunPaths run{run_dir, options.node >= 0 ? options.node : node_of(run_dir)};
  const auto result = supervise(run, options);
  if (result) return 0;
  report(options, "error " + result.error().message + "\n" + result.error().hint);
  return kStoreExit;
}

Result<SpawnOutcome> spawn_supervisor(const fs::path& run_dir, SuperviseOptions options) {
  const fs::path absolute = fs::absolute(run_dir);
  TRY_ASSIGN(const std::string text, detach("trainctl-super", [&](const Detached& process) {
               options.report_fd = process.report_fd;
               options.user_mask = process.user_mask;
               return supervise_main(absolute, options);
             }));
  if (text == kSupervised) return SpawnOutcome::supervised;
  if (text == kAlready) return SpawnOutcome::already;
  if (text.starts_with("error ")) {
    const std::size_t end = std::min(text.rfind('\n'), text.size());
    return fail(Errc::store, text.substr(6, end - 6), text.substr(std::min(end + 1, text.size())));
  }
  return fail(Errc::cannot_start, "the supervisor died before it had begun",
              "run the same command again: it takes the run up where it is");
}

}  // namespace trainctl::host
