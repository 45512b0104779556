// SPDX-License-Identifier: Apache-2.0
// The runner as jobs find it: in a place that the compute nodes share with the submit host.
#pragma once

#include <filesystem>

#include "trainctl/result.hpp"

namespace trainctl::host::slurm {

/// This runner, where it can stay for as long as a job may wait: an upgrade does not change it. One that was brought
/// here beside the store stays where it is, others are copied to STORE/bin.
Result<std::filesystem::path> provide_runner(const std::filesystem::path& store);

}  // namespace trainctl::host::slurm
