// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "format/paths.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

/// Size and hash of a file of the run where it grew ("attempts/1/logs/std.log"); empty for a run that grows here.
Result<std::optional<target::FileDigest>> source_digest(const format::RunPaths& run, const std::string& file);

}  // namespace trainctl::engine
