// SPDX-License-Identifier: Apache-2.0
#include "cli/contact_view.hpp"

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "archive/contact.hpp"
#include "base/clock.hpp"
#include "base/json.hpp"
#include "cli/time_text.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"

namespace trainctl::cli {
namespace {

constexpr auto kFresh = std::chrono::seconds(30);  // who watches hears from the host three times in it

}  // namespace

std::string contact_text(const format::RunPaths& run, format::State state, base::WallTime now) {
  if (format::is_terminal(state)) return {};
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
