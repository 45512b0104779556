// SPDX-License-Identifier: Apache-2.0
// The end of a run that somebody does not want any more, as seen from the submit host.
#pragma once

#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {

/// After a cancel request was written: a detached process sees to it that the run ends. A job that waits is canceled at
/// once; one that runs gets its grace from its own supervisor, and scancel when that did not help.
Result<> start_cancel(const format::RunPaths& run);

}  // namespace trainctl::host::slurm
