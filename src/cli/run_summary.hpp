// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/output.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"

namespace trainctl::cli {

/// The line(s) after the end of an attached run: state, duration, primary metric, peak memory, outputs; what failed and
/// what to do. Under --json the run as {"type":"run",…}.
void print_summary(Context& context, const format::RunPaths& run, const format::RunState& state);

/// A run as `ls` and `show` print it under --json (design §9): id, name, state, cause, exit_code, …
Json run_to_json(const format::RunPaths& run, const format::Plan& plan, const format::RunState& state);

/// Where the last attempt runs or ran, from its record: {"host", "slurm"?: {"job", "nodes"}}; null when that is
/// unknown.
Json place_to_json(const format::RunState& state);

/// "✓" or "✗" or "…" with the state's colour; ASCII where the terminal is not UTF-8.
std::string state_mark(const Stream& out, format::State state);

}  // namespace trainctl::cli
