// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string_view>

#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// The folders of Python modules that scripts may import, written once per store and content.
struct HelperModules {
  std::filesystem::path own;     ///< trainctl.py: first on PYTHONPATH
  std::filesystem::path shared;  ///< our azureml: last on PYTHONPATH; it gives way to a real azureml-core itself
};
Result<HelperModules> provide_helper_modules(const format::StorePaths& store);

/// The text of trainctl.py: outside a run its calls do nothing.
std::string_view own_module();

}  // namespace trainctl::host
