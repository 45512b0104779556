// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>

#include "format/fold.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {

/// Waits for a run's end, adopting it when its supervisor died. Errc::timeout after `timeout`; Errc::canceled on Ctrl-C
/// (the run goes on).
Result<format::RunState> wait_for_end(const format::RunPaths& run, std::optional<std::chrono::milliseconds> timeout);

}  // namespace trainctl::cli
