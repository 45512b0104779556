// SPDX-License-Identifier: Apache-2.0
// The commands. A new one is its file and one line here.
#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "cli/command.hpp"
#include "cli/commands.hpp"

namespace trainctl::cli {
namespace {

const std::array kCommands = {
    run_command(),    submit_command(),     attach_command(),   ls_command(),      show_command(),
    logs_command(),   metrics_command(),    cancel_command(),   outputs_command(), init_command(),
    wait_command(),   rm_command(),         validate_command(), explain_command(), schema_command(),
    import_command(), estimator_command(),  trust_command(),    env_command(),     target_command(),
    sync_command(),   exec_command(),       shell_command(),    tunnel_command(),  selftest_command(),
    store_command(),  completion_command(), help_command(),
};

}  // namespace

std::span<const Command> all_commands() {
  return kCommands;
}

const Command* find_command(std::string_view name) {
  const auto* found =
      std::find_if(kCommands.begin(), kCommands.end(), [&](const Command& c) { return c.name == name; });
  return found == kCommands.end() ? nullptr : found;
}

}  // namespace trainctl::cli
