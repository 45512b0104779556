// SPDX-License-Identifier: Apache-2.0
#include "host/stdio/operations.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/adoption.hpp"
#include "host/container/engine.hpp"
#include "host/gang/membership.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

format::RunPaths run_paths(const StdioContext& context, const std::string& run) {
  return run_here(context.store, run);
}

}  // namespace

Result<bool> keep_plan(const format::RunPaths& run, const Json& plan) {
  TRY(base::make_directories(run.root));
  TRY_ASSIGN(const auto there, base::read_file_if_exists(run.plan(), base::kMaxJsonBytes));
  if (there) {
    TRY_ASSIGN(const Json known, base::parse_json(*there));
    if (known == plan) return false;
    return fail(Errc::invalid, "run " + run.id() + " exists here with another plan",
                "a run id is used once; submit again to get a new one");
  }
  TRY(base::write_file_durable(run.plan(), base::pretty_json(plan)));
  TRY(base::sync_directory(run.root.parent_path()));
  return true;
}

Result<> keep_secrets(const StdioContext& context, const std::string& id, const Json& request) {
  const auto secrets = request.find("secrets");
  if (secrets == request.end() || secrets->is_null()) return {};
  if (!secrets->is_object()) return fail(Errc::invalid, "\"secrets\" is not an object");
  for (const auto& item : secrets->items()) {
    if (!item.value().is_string()) return fail(Errc::invalid, "the value of secret " + item.key() + " is not a text");
  }
  const auto path = format::StorePaths{context.store}.secrets(id);
  TRY(base::make_directories(path.parent_path()));
  return base::write_file_durable(path, base::dump_json(*secrets), 0600);
}

Json state_json(const std::string& run, const format::RunState& state) {
  return {{"run", run},
          {"found", true},
          {"state", to_string(state.state)},
          {"cause", state.cause ? Json(to_string(*state.cause)) : Json(nullptr)},
          {"exit_code", state.exit_code ? Json(*state.exit_code) : Json(nullptr)},
          {"attempt", state.attempt},
          {"message", state.message},
          {"end", state.end}};
}

Json error_json(const Error& error) {
  return {{"code", to_string(error.code)},
          {"message", error.message},
          {"hint", error.hint},
          {"context", error.context},
          {"retryable", error.retryable}};
}

Result<std::string> text_member(const Json& request, const char* key) {
  const auto found = request.is_object() ? request.find(key) : request.end();
  if (!request.is_object() || found == request.end() || !found->is_string())
    return fail(Errc::invalid, std::string("the request has no text \"") + key + "\"");
  return found->get<std::string>();
}

Result<std::string> run_member(const Json& request) {
  TRY_ASSIGN(std::string run, text_member(request, "run"));
  if (!base::is_ulid(run)) return fail(Errc::invalid, "\"run\" is not the ULID of a run");
  return run;
}

Json offered_operations(const StdioContext& context) {
  Json operations = {"ping", "probe",   "find", "watch",  "request", "fetch",
                     "put",  "missing", "runs", "remove", "clean",   "enter"};
  if (context.start) operations.push_back("launch");
  if (context.adopt) operations.push_back("adopt");
  if (context.start_node) operations.insert(operations.end(), {"prepare", "go"});
  return operations;
}

Result<Json> operate_find(const StdioContext& context, const Json& request) {
  TRY_ASSIGN(const std::string id, run_member(request));
  const format::RunPaths run = run_paths(context, id);
  if (!base::exists(run.plan()) && !base::exists(run.attempts())) return Json{{"run", id}, {"found", false}};
  TRY_ASSIGN(const auto state, format::fold_run(run));
  return state_json(id, state);
}

Result<Json> operate_enter(const StdioContext& context, const Json& request) {
  TRY_ASSIGN(const std::string id, run_member(request));
  const format::RunPaths run = run_paths(context, id);
  if (!base::exists(run.plan())) return fail(Errc::not_found, "no run " + id + " on this host");
  TRY_ASSIGN(const auto program, runner_program());
  return Json{{"run", id}, {"folder", run.root.string()}, {"program", program.string()}};
}

/// What of the request's "needs" is not here, as a reply; empty when the launch may go on.
Result<std::optional<Json>> lacking(const StdioContext& context, const Json& request, const std::string& id) {
  const auto needs = request.find("needs");
  if (needs == request.end() || needs->is_null()) return std::nullopt;
  TRY_ASSIGN(const Json missing, operate_missing(context, *needs));
  if (missing["snapshots"].empty() && missing["inputs"].empty()) return std::nullopt;
  return Json{
      {"run", id}, {"new", false}, {"needs", {{"snapshots", missing["snapshots"]}, {"inputs", missing["inputs"]}}}};
}

Result<Json> operate_launch(const StdioContext& context, const Json& request) {
  const auto given = request.find("plan");
  if (given == request.end() || !given->is_object()) return fail(Errc::invalid, "the request has no object \"plan\"");
  TRY_ASSIGN(const auto plan, format::plan_from_json(*given));
  if (!base::is_ulid(plan.id)) return fail(Errc::invalid, "the plan's \"id\" is not a ULID");
  const format::RunPaths run = run_paths(context, plan.id);
  // A folder without a plan but with an end is a tombstone: the run was given up before it got here.
  TRY_ASSIGN(auto state, format::fold_run(run));
  bool fresh = false;
  if (!format::is_terminal(state.state)) {
    TRY_ASSIGN(auto lacks, lacking(context, request, plan.id));
    if (lacks) return *lacks;
    TRY_ASSIGN(fresh, keep_plan(run, *given));
    if (state.attempt == 0) TRY(keep_secrets(context, plan.id, request));
    // Also for a plan that was there: a launch may have died between the plan and the start. An active run says
    // "already".
    TRY(context.start(run.root));
    TRY_ASSIGN(state, format::fold_run(run));
  }
  Json reply = state_json(plan.id, state);
  reply["new"] = fresh;
  return reply;
}

namespace {

/// Durable and whole, once: false when it was there.
Result<bool> keep_request(const format::RunPaths& run, const std::string& key, const Json& body) {
  TRY(base::make_directories(run.control()));
  const auto target = run.request(key);
  const auto temporary = run.control() / ("." + key + "." + base::random_hex(4));
  TRY(base::write_file_durable(temporary, base::dump_json(body) + "\n"));
  const int linked = ::link(temporary.c_str(), target.c_str());
  const int problem = errno;
  ::unlink(temporary.c_str());
  if (linked != 0 && problem != EEXIST) return fail_errno("write " + target.string(), problem);
  TRY(base::sync_directory(run.control()));
  return linked == 0;
}

/// A run that is canceled before it came here: its supervisor finds the wish and ends it before anything begins, and a
/// launch that comes late finds the end. The wish first: a plan without it could be started.
Result<bool> bury(const StdioContext& context, const format::RunPaths& run, const Json& request,
                  const std::string& key) {
  TRY_ASSIGN(const auto plan, format::plan_from_json(request["plan"]));
  if (plan.id != run.id()) return fail(Errc::invalid, "the plan is of another run");
  TRY_ASSIGN(const bool fresh, keep_request(run, key, request["request"]));
  TRY(keep_plan(run, request["plan"]));
  TRY(context.start(run.root));
  return fresh;
}

}  // namespace

Result<Json> operate_request(const StdioContext& context, const Json& request) {
  TRY_ASSIGN(const std::string id, run_member(request));
  TRY_ASSIGN(const std::string key, text_member(request, "id"));
  if (!base::is_ulid(key)) return fail(Errc::invalid, "\"id\" is not a ULID");
  const auto body = request.find("request");
  if (body == request.end() || !body->is_object()) return fail(Errc::invalid, "the request has no object \"request\"");
  const std::string type = body->value("type", "");
  const format::RunPaths run = run_paths(context, id);
  Json reply = {{"run", id}, {"id", key}};
  if (base::exists(run.plan())) {
    if (type == "signal") TRY(check_hears_signals(run));
    TRY_ASSIGN(reply["new"], keep_request(run, key, *body));
    if (context.requested) TRY(context.requested(run, type));
    return reply;
  }
  if (type != "cancel" || !request.contains("plan") || !context.start)
    return fail(Errc::not_found, "no run " + id + " on this host");
  TRY_ASSIGN(reply["new"], bury(context, run, request, key));
  return reply;
}

Result<base::UniqueFd> open_beneath(const std::filesystem::path& root, std::string_view relative) {
  TRY_ASSIGN(base::UniqueFd at, base::open_file(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  const auto parts = base::split(relative, '/');
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string& part = parts[i];
    if (part.empty() || part == "." || part == ".." || part.find('\0') != std::string::npos)
      return fail(Errc::denied, "\"" + std::string(relative) + "\" is not a plain path inside the run folder");
    const bool last = i + 1 == parts.size();
    // O_NONBLOCK: a FIFO in the outputs must not hang the runner.
    const int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | (last ? 0 : O_DIRECTORY);
    base::UniqueFd next(::openat(at.get(), part.c_str(), flags));
    if (!next && (errno == ELOOP || (errno == ENOTDIR && !last)))
      return fail(Errc::denied,
                  "\"" + part + "\" in \"" + std::string(relative) + "\" is a symbolic link or no folder");
    if (!next) return fail_errno("open " + std::string(relative), errno);
    at = std::move(next);
  }
  return at;
}

}  // namespace trainctl::host
