// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// The folder of trainctl.py (the Python module scripts log with), written once per store and content.
Result<std::filesystem::path> provide_helper_module(const format::StorePaths& store);

}  // namespace trainctl::host
