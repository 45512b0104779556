// SPDX-License-Identifier: Apache-2.0
// Times as people read and type them. Stored UTC, shown local, or UTC with --utc.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "cli/output.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {

/// "2026-11-23 03:28:01" in local time, or with a Z in UTC; "-" for the epoch.
std::string time_text(const Context& context, base::WallTime time);
/// The same from a stored text; empty stays "-".
std::string time_text(const Context& context, std::string_view utc);
/// "just now", "41 min ago", "3 d ago", for lists.
std::string relative_text(base::WallTime time, base::WallTime now);
/// How long from one to the other. A wall clock that was set back in between makes it 0, never negative.
std::string span_text(base::WallTime from, base::WallTime to);
/// For how long a run goes on that was created here and started where the clock may be another: when that cannot be
/// true, since it was created.
std::string running_text(std::optional<base::WallTime> created, base::WallTime started, base::WallTime now);
/// A duration back from now ("10m", "7d"), a date, a local "2026-11-23 03:28", or RFC 3339.
Result<base::WallTime> parse_since(std::string_view text);

}  // namespace trainctl::cli
