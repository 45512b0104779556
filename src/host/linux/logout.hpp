// SPDX-License-Identifier: Apache-2.0
// What becomes of a user's processes when the session ends that started them.
#pragma once

#include <optional>
#include <string_view>

namespace trainctl::host {

/// Asks loginctl, for 3 s at most; empty where there is none, or it does not answer.
std::optional<bool> logout_kills(std::string_view user);

/// Of what `loginctl show-user` prints about the manager (logind.conf(5): KillUserProcesses, KillOnlyUsers,
/// KillExcludeUsers). Lingering spares what the user's own systemd started, not the processes of a session. Pure.
std::optional<bool> kills_at_logout(std::string_view properties, std::string_view user);

}  // namespace trainctl::host
