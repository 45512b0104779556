// SPDX-License-Identifier: Apache-2.0
#include "cli/refresh.hpp"

#include <chrono>
#include <string>

#include "archive/contact.hpp"
#include "base/clock.hpp"
#include "cli/output.hpp"
#include "cli/time_text.hpp"
#include "engine/sync.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"

namespace trainctl::cli {
namespace {

constexpr std::chrono::milliseconds kPatience{5000};

}  // namespace

std::string bring_up_to_date(const format::RunPaths& run, bool followed) {
  const auto state = format::fold_run(run);
  if (!state) return {};
  if (format::is_terminal(state->state) ? archive::read_contact(run).whole : followed) return {};
  for (const engine::TargetSync& target : engine::sync({run}, kPatience)) {
    if (!target.problem) continue;
    const archive::Contact contact = archive::read_contact(run);
    return printable(target.target) + ": " + printable(target.problem->message) +
           (contact.seen ? "; shown is what was known " + relative_text(*contact.seen, base::wall_now())
                         : "; nothing of the run was seen yet");
  }
  return {};
}

}  // namespace trainctl::cli
