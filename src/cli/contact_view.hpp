// SPDX-License-Identifier: Apache-2.0
// How old what we know of a run elsewhere is. A view: no state of the run follows from it.
#pragma once

#include <string>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"

namespace trainctl::cli {

/// A run for another target whose launch nobody heard to have come there; attach launches it, cancel gives it up.
bool awaits_launch(const format::RunPaths& run, format::State state);

/// "its start has not reached its target", "unknown since 41 min ago" when its target could not be asked the last time,
/// "as of 3 min ago" when nobody has asked for a while; empty for what is fresh, has ended, or lies here.
std::string contact_text(const format::RunPaths& run, format::State state, base::WallTime now);

/// {"seen": time or null, "problem": text or null}; null for what has ended or lies here.
Json contact_json(const format::RunPaths& run, format::State state);

}  // namespace trainctl::cli
