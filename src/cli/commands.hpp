// SPDX-License-Identifier: Apache-2.0
// One function a command, each defined in cmd_<name>.cpp.
#pragma once

#include "cli/command.hpp"

namespace trainctl::cli {

Command run_command();
Command submit_command();
Command attach_command();
Command ls_command();
Command show_command();
Command logs_command();
Command metrics_command();
Command cancel_command();
Command outputs_command();
Command init_command();
Command import_command();
Command wait_command();
Command rm_command();
Command validate_command();
Command explain_command();
Command schema_command();
Command estimator_command();
Command trust_command();
Command env_command();
Command target_command();
Command exec_command();
Command shell_command();
Command tunnel_command();
Command sync_command();
Command selftest_command();
Command store_command();
Command completion_command();
Command help_command();

}  // namespace trainctl::cli
