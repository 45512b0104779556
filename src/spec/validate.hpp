// SPDX-License-Identifier: Apache-2.0
// What types cannot say: contradictions, missing parts, rules between fields.
#pragma once

#include <filesystem>

#include "spec/layer.hpp"
#include "spec/run_configuration.hpp"

namespace trainctl::spec {

/// Every contradiction in `config`, with positions from `origins`. `complete` false (something did not decode) leaves
/// out what would only be a consequence of that, such as "there is no script". Touches no file.
Errors validate(const RunConfiguration& config, const Origins& origins, bool complete = true);

/// What the configuration names on this machine and is not there: source directory, script, requirements files,
/// secrets' files, local inputs. `base_directory` as in LoadedRun.
Errors check_files(const RunConfiguration& config, const std::filesystem::path& base_directory,
                   const Origins& origins = {});

}  // namespace trainctl::spec
