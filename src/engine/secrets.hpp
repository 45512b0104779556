// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "spec/load.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

/// The values of the run's secrets from the submitter's variables, files and commands. `read` false only checks that
/// they can be had, without running commands. All that are missing are told at once; no message holds a value.
ResultAll<std::vector<std::pair<std::string, std::string>>> read_secrets(const spec::LoadedRun& run, bool read);

}  // namespace trainctl::engine
