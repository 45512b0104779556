// SPDX-License-Identifier: Apache-2.0
#include "engine/supervision.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "engine/patience.hpp"
#include "format/event.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/plan_target.hpp"
#include "format/state.hpp"
#include "host/adoption.hpp"
#include "target/cancel.hpp"
#include "target/registry.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

constexpr std::chrono::milliseconds kCancelPatience = std::chrono::seconds(10);

/// Started on another machine that shares the store, or in another container: nobody here can tell whether it lives.
bool lead_is_elsewhere(const format::RunState& state) {
  if (!state.lead.is_object()) return false;
  const Json& lead = state.lead;
  if (lead.value("machine", "") != base::machine_id()) return true;
  return lead.value("boot", "") == base::boot_id() && lead.value("pidns", "") != base::pid_namespace();
}

Result<> note_handle(const format::RunPaths& run, const target::Handle& handle) {
  TRY_ASSIGN(const target::RunRef known, reference(run));
  if (known.handle == handle) return {};
  TRY_ASSIGN(auto writer, format::EventWriter::create(run.client(base::new_ulid())));
  return writer.append_durable("handle", {{"handle", handle}});
}

/// Of a run whose launch was not heard of, once it is known to be there.
Result<> keep_handle(const format::RunPaths& run, target::Target& target, const target::RunRef& ref,
                     const target::Cancel& cancel) {
  if (target.capabilities().in_place || !ref.handle.empty()) return {};
  TRY_ASSIGN(const auto handle, target.find(ref, cancel));
  return handle ? note_handle(run, *handle) : Result<>();
}

}  // namespace

Result<std::unique_ptr<target::Target>> target_of(const format::RunPaths& run, const format::Plan& plan) {
  return target::open_target(plan.target, run.store());
}

Result<target::RunRef> reference(const format::RunPaths& run) {
  target::RunRef ref{.run = run.id(), .folder = run.root};
  TRY_ASSIGN(const auto clients, base::list_directory(run.clients()));
  for (const std::string& name : clients) {
    if (!std::string_view(name).ends_with(".jsonl")) continue;
    TRY_ASSIGN(const auto lines, format::read_lines(run.clients() / name));
    for (const Json& line : lines) {
      if (line.value("type", "") == "handle" && line.contains("handle")) ref.handle = line["handle"];
    }
  }
  return ref;
}

Result<OpenedRun> open_run(const format::RunPaths& run) {
  TRY_ASSIGN(const format::Plan plan, format::read_plan(run.plan()));
  OpenedRun opened;
  TRY_ASSIGN(opened.target, target_of(run, plan));
  TRY_ASSIGN(opened.ref, reference(run));
  return opened;
}

Result<> launch(const format::RunPaths& run, target::Target& target, const target::Cancel& cancel,
                const LaunchWish& wish) {
  const target::RunRef ref{.run = run.id(), .folder = run.root, .progress = wish.progress, .followed = wish.followed};
  TRY_ASSIGN(const target::Handle handle, target.launch(ref, cancel));
  if (target.capabilities().in_place) return {};  // the folder itself says all there is to know
  return note_handle(run, handle);
}

Result<> ensure_supervised(const format::RunPaths& run, Start start) {
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  if (format::is_terminal(state.state) || host::lead_is_alive(state)) return {};
  // A supervisor could not write a line either. Who reads a copy of a store is not the one to look after it.
  if (::faccessat(AT_FDCWD, run.root.c_str(), W_OK | X_OK, AT_EACCESS) != 0 && errno != ENOENT) return {};
  TRY_ASSIGN(auto opened, open_run(run));
  if (!opened.target->capabilities().in_place) return {};
  if (lead_is_elsewhere(state)) return {};
  TRY_ASSIGN(const auto cancel, target::Cancel::create());
  if (start == Start::allowed) return launch(run, *opened.target, cancel);
  return opened.target->adopt(opened.ref, cancel);
}

Result<base::FileLock> lock_ended(const format::RunPaths& run) {
  TRY_ASSIGN(auto lock, host::lock_ended(run));
  const auto plan = format::read_plan(run.plan());
  if (!plan) return lock;  // a damaged run can be removed too
  TRY_ASSIGN(auto target, target_of(run, *plan));
  if (target->capabilities().in_place) return lock;
  TRY_ASSIGN(const auto ref, reference(run));
  TRY_ASSIGN(const auto cancel, target::Cancel::create());
  TRY(target->remove(ref, cancel));
  return lock;
}

Result<> CancelRequests::request(const format::RunPaths& run, const std::string& reason) {
  TRY_ASSIGN(const std::string request, host::write_request(run, {{"type", "cancel"}, {"reason", reason}}));
  TRY_ASSIGN(const format::Plan plan, format::read_plan(run.plan()));
  const std::string key = base::dump_json(plan.target);
  if (const auto silent = silent_.find(key); silent != silent_.end()) return fail(silent->second);
  TRY_ASSIGN(const auto target, target_of(run, plan));
  TRY_ASSIGN(const auto ref, reference(run));
  TRY_ASSIGN(const auto patience, Patience::begin(kCancelPatience));
  auto told = target->stop(ref, {.request = request, .reason = reason}, patience->cancel());
  if (told) return keep_handle(run, *target, ref, patience->cancel());
  if (!(patience->is_over() || told.error().code == Errc::unavailable)) return told;
  Error error = std::move(told).error();
  if (patience->is_over())
    error = Error{
        .code = Errc::unavailable,
        .message = format::target_name(plan) + " did not answer within " + base::format_duration(kCancelPatience)};
  error.retryable = true;
  error.hint =
      "the wish is kept, and told as soon as a command that follows the run reaches its target: trainctl wait " +
      plan.name;
  silent_.emplace(key, error);
  return fail(std::move(error));
}

Result<> request_cancel(const format::RunPaths& run, const std::string& reason) {
  return CancelRequests().request(run, reason);
}

Result<> repeat_wishes(const format::RunPaths& run, target::Target& target, const target::Cancel& cancel) {
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  if (format::is_terminal(state.state) || state.open_requests.empty()) return {};
  TRY_ASSIGN(const target::RunRef ref, reference(run));
  TRY_ASSIGN(const format::RunLines lines, format::read_run_lines(run));
  for (const std::string& id : state.open_requests) {
    const auto wish = lines.requests.find(id);
    if (wish == lines.requests.end() || wish->second.value("type", "") != "cancel") continue;
    TRY(target.stop(ref, {.request = id, .reason = wish->second.value("reason", "")}, cancel));
    TRY(keep_handle(run, target, ref, cancel));
  }
  return {};
}

Result<> request_signal(const format::RunPaths& run, const std::string& signal) {
  TRY_ASSIGN(auto opened, open_run(run));
  TRY_ASSIGN(const auto patience, Patience::begin(kCancelPatience));
  auto sent = opened.target->signal(opened.ref, signal, patience->cancel());
  if (sent || !patience->is_over()) return sent;
  Error late{.code = Errc::unavailable,
             .message = "the target did not answer within " + base::format_duration(kCancelPatience)};
  late.retryable = true;
  return fail(std::move(late));
}

}  // namespace trainctl::engine
