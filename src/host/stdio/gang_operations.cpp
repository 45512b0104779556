// SPDX-License-Identifier: Apache-2.0
// The operations that begin a run on several machines: `prepare` on each, `go` on node 0.
#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "base/random.hpp"
#include "base/ulid.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/gang/membership.hpp"
#include "host/stdio/operations.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::size_t kKeyBytes = 32;

/// Node 0 makes the key; the client carries it to the others. Prepared again a node keeps what it has: its supervisor
/// may be at work with it.
Result<Membership> member_of(const format::RunPaths& run, const Json& request) {
  const auto given = request.find("gang");
  if (given == request.end() || !given->is_object()) return fail(Errc::invalid, "the request has no object \"gang\"");
  Json wanted = *given;
  const bool lead = wanted.value("node", Json(0)) == Json(0);
  if (lead && !wanted.contains("key")) {
    std::string key(kKeyBytes, '\0');
    base::fill_random(key.data(), key.size());
    wanted["key"] = base::to_hex(key);
  }
  TRY_ASSIGN(Membership member, membership_from_json(wanted));
  const format::RunPaths own{run.root, member.node};
  TRY_ASSIGN(const auto lead_here, read_membership(format::RunPaths{run.root}));
  TRY_ASSIGN(const auto there, base::exists(run.gang() / (std::to_string(member.node) + ".json"))
                                   ? read_membership(own)
                                   : Result<std::optional<Membership>>(std::nullopt));
  if (there && (lead || there->key == member.key)) return *there;
  if (there) {
    return fail(Errc::invalid,
                "node " + std::to_string(member.node) + " of this run was prepared with another key here",
                "submit it again to get a new run");
  }
  member.needs_go = lead;
  member.shared = !lead && lead_here.has_value();
  if (!lead && member.lead_port == 0)
    return fail(Errc::invalid, "\"gang\" does not say where node 0 listens: prepare node 0 first");
  TRY(write_membership(own, member));
  return member;
}

}  // namespace

Result<Json> operate_prepare(const StdioContext& context, const Json& request) {
  const auto given = request.find("plan");
  if (given == request.end() || !given->is_object()) return fail(Errc::invalid, "the request has no object \"plan\"");
  TRY_ASSIGN(const auto plan, format::plan_from_json(*given));
  if (!base::is_ulid(plan.id)) return fail(Errc::invalid, "the plan's \"id\" is not a ULID");
  format::RunPaths run = format::StorePaths{context.store}.run(plan.id);
  TRY(keep_plan(run, *given));
  TRY_ASSIGN(const Membership member, member_of(run, request));
  run.own_node = member.node;
  TRY_ASSIGN(const auto state, format::fold_run(run));
  if (!format::is_terminal(state.state)) {
    if (state.attempt == 0) TRY(keep_secrets(context, plan.id, request));
    TRY(context.start_node(run));
  }
  Json reply = state_json(plan.id, state);
  reply["node"] = member.node;
  reply["shared"] = member.shared;
  if (member.node > 0) return reply;
  TRY_ASSIGN(const auto lead, read_lead(run));
  if (!lead) return fail(Errc::unavailable, "node 0 does not listen for the other machines");
  Json gang = to_json(member);
  gang["lead_addresses"] = lead->addresses;
  gang["lead_port"] = lead->port;
  reply["gang"] = std::move(gang);
  return reply;
}

Result<Json> operate_go(const StdioContext& context, const Json& request) {
  TRY_ASSIGN(const std::string id, run_member(request));
  const format::RunPaths run = format::StorePaths{context.store}.run(id);
  TRY_ASSIGN(const auto member, read_membership(run));
  if (!member) return fail(Errc::not_found, "no run " + id + " was prepared as node 0 on this host");
  TRY_ASSIGN(auto state, format::fold_run(run));
  const bool fresh = !start_permitted(run);
  if (!format::is_terminal(state.state)) {
    TRY(permit_start(run));
    TRY(context.start_node(run));
    TRY_ASSIGN(state, format::fold_run(run));
  }
  Json reply = state_json(id, state);
  reply["new"] = fresh;
  return reply;
}

}  // namespace trainctl::host
