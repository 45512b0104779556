// SPDX-License-Identifier: Apache-2.0
// The runners that this client can send, one an architecture.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::target {

struct RunnerFile {
  std::string architecture;  ///< x86_64, aarch64: as `uname -m` says it
  std::filesystem::path path;
  std::string hash;  ///< SHA-256, hex
  std::uint64_t size = 0;
};

/// Those that are installed with this program: beside it, or in ../libexec/trainctl or ../share/trainctl. The one for
/// this machine's own architecture is called trainctl-runner, the others trainctl-runner-<architecture>.
Result<std::vector<RunnerFile>> find_runner_files();

/// What it is called on a host.
std::string runner_name(const RunnerFile& file);

/// Where the runner of an architecture is looked for: for the error that says it is missing.
std::vector<std::filesystem::path> runner_places(std::string_view architecture);

}  // namespace trainctl::target
