// SPDX-License-Identifier: Apache-2.0
// Building a run's environment on the submit host.
#pragma once

#include <functional>

#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/supervisor/preparation.hpp"

namespace trainctl::host::slurm {

/// Waits for it; `is_canceled` is asked twice a second, and when it says so the builder is killed.
tl::expected<void, PreparationError> build_ahead(const format::Plan& plan, const format::RunPaths& run,
                                                 const std::function<bool()>& is_canceled);

}  // namespace trainctl::host::slurm
