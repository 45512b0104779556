// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trainctl::base {

using WallTime = std::chrono::sys_time<std::chrono::microseconds>;

WallTime wall_now();                                       ///< for showing and recording only; durations use mono_ns
std::uint64_t mono_ns();                                   ///< CLOCK_BOOTTIME in ns: goes on through suspend
std::string format_utc(WallTime time);                     ///< "2026-11-23T02:28:01.123456Z"
std::optional<WallTime> parse_utc(std::string_view text);  ///< RFC 3339 with Z or an offset; fraction optional

/// The kernel's boot id (changes at each boot). TRAINCTL_BOOT_ID_FILE overrides the path (tests).
std::string boot_id();
/// A stable id of this machine (/etc/machine-id, else the host name).
std::string machine_id();
/// The inode number of our pid namespace as text.
std::string pid_namespace();
std::string host_name();
std::string user_name();  ///< from the environment or the uid: no NSS in the runner

}  // namespace trainctl::base
