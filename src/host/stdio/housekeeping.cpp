// SPDX-License-Identifier: Apache-2.0
// The operations about the runs of a host as a whole: adopt, runs, remove, clean, ping.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/removal.hpp"
#include "host/adoption.hpp"
#include "host/data/clean.hpp"
#include "host/gang/membership.hpp"
#include "host/stdio/operations.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::size_t kRunsAtOnce = 2000;  // of about 300 bytes: fits a frame

bool is_here(const format::RunPaths& run) {
  return base::exists(run.plan()) || base::exists(run.attempts());
}

Result<Json> adopted(const StdioContext& context, const std::string& id) {
  const format::RunPaths run = run_here(context.store, id);
  if (!is_here(run)) return Json{{"run", id}, {"found", false}};
  const auto taken = context.adopt(run);
  TRY_ASSIGN(const auto state, format::fold_run(run));
  Json item = state_json(id, state);
  if (!taken) item["problem"] = error_json(taken.error());
  return item;
}

Json listed(const format::RunPaths& run) {
  const auto state = format::fold_run(run);
  Json item = state ? state_json(run.id(), *state) : Json{{"run", run.id()}, {"problem", error_json(state.error())}};
  item.erase("end");
  const auto plan = format::read_plan(run.plan());
  item["name"] = plan ? Json(plan->name) : Json(nullptr);
  item["created"] = plan ? Json(plan->created) : Json(nullptr);
  return item;
}

}  // namespace

Result<Json> operate_adopt(const StdioContext& context, const Json& request) {
  const auto runs = request.find("runs");
  if (runs == request.end() || !runs->is_array()) return fail(Errc::invalid, "the request has no list \"runs\"");
  Json items = Json::array();
  for (const Json& run : *runs) {
    TRY_ASSIGN(const std::string id, run_member(Json{{"run", run}}));
    TRY_ASSIGN(Json item, adopted(context, id));
    items.push_back(std::move(item));
  }
  return Json{{"runs", std::move(items)}};
}

Result<Json> operate_runs(const StdioContext& context, const Json& request) {
  const format::StorePaths store{context.store};
  std::string after;
  if (request.contains("after")) {
    TRY_ASSIGN(after, text_member(request, "after"));
  }
  TRY_ASSIGN(auto ids, base::list_directory(store.runs()));
  std::erase_if(ids, [&after](const std::string& id) { return !base::is_ulid(id) || id <= after; });
  Json items = Json::array();
  for (std::size_t i = 0; i < std::min(ids.size(), kRunsAtOnce); ++i)
    items.push_back(listed(run_here(store.root, ids[i])));
  Json reply = {{"runs", std::move(items)}};
  reply["next"] = ids.size() > kRunsAtOnce ? Json(ids[kRunsAtOnce - 1]) : Json(nullptr);
  return reply;
}

Result<Json> operate_remove(const StdioContext& context, const Json& request) {
  TRY_ASSIGN(const std::string id, run_member(request));
  const format::StorePaths store{context.store};
  if (!base::exists(store.run(id).root)) return Json{{"run", id}, {"removed", false}};
  TRY_ASSIGN(const base::FileLock lock, lock_ended(run_here(store.root, id)));
  TRY_ASSIGN(const bool removed, format::remove_run(store, id));
  return Json{{"run", id}, {"removed", removed}};
}

Result<Json> operate_clean(const StdioContext& context, const Json& request) {
  const auto all = request.find("all");
  if (all != request.end() && !all->is_boolean()) return fail(Errc::invalid, "\"all\" is true or false");
  const bool everything = all != request.end() && all->get<bool>();
  std::optional<std::chrono::milliseconds> patience;
  if (const auto ms = request.find("within_ms"); ms != request.end()) {
    if (!ms->is_number_unsigned()) return fail(Errc::invalid, "\"within_ms\" is a number of milliseconds");
    patience = std::chrono::milliseconds(ms->get<std::uint32_t>());
  }
  TRY_ASSIGN(const Cleaned cleaned, clean(format::StorePaths{context.store}, everything, patience));
  Json kept = Json::array();
  for (const auto& [id, name] : cleaned.kept) kept.push_back({{"run", id}, {"name", name}});
  return Json{{"runs", cleaned.runs}, {"kept", std::move(kept)}, {"bytes", cleaned.bytes}, {"more", cleaned.more}};
}

Result<Json> operate_ping(const StdioContext&, const Json&) {
  return Json{{"mono_ns", base::mono_ns()}, {"time", base::format_utc(base::wall_now())}};
}

}  // namespace trainctl::host
