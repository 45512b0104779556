// SPDX-License-Identifier: Apache-2.0
#include "cli/contact_view.hpp"

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "archive/contact.hpp"
#include "base/clock.hpp"
#include "base/json.hpp"
#include "cli/time_text.hpp"
#include "engine/supervision.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"

namespace trainctl::cli {
namespace {

constexpr auto kFresh = std::chrono::seconds(30);  // who watches hears from the host three times in it

}  // namespace

bool awaits_launch(const format::RunPaths& run, format::State state) {
  if (state != format::State::created) return false;
  const auto plan = format::read_plan(run.plan());
  const auto ref = engine::reference(run);
  return plan && ref && ref->handle.empty() && plan->target.value("type", "local") != "local";
}

std::string contact_text(const format::RunPaths& run, format::State state, base::WallTime now) {
  if (format::is_terminal(state)) return {};
  if (awaits_launch(run, state)) return "its start has not reached its target";
  const archive::Contact contact = archive::read_contact(run);
  if (!contact.problem.empty())
    return contact.seen ? "unknown since " + relative_text(*contact.seen, now) : "never reached";
  if (!contact.seen || now - *contact.seen < kFresh) return {};
  return "as of " + relative_text(*contact.seen, now);
}

Json contact_json(const format::RunPaths& run, format::State state) {
  if (format::is_terminal(state)) return nullptr;
  const archive::Contact contact = archive::read_contact(run);
  if (!contact.seen && contact.problem.empty()) return nullptr;
  return {{"seen", contact.seen ? Json(base::format_utc(*contact.seen)) : Json(nullptr)},
          {"problem", contact.problem.empty() ? Json(nullptr) : Json(contact.problem)}};
}

}  // namespace trainctl::cli
