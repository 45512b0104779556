// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "host/environment/request.hpp"

namespace trainctl::cli {

/// Lines of a shell script that make the environment with the usual tools and set $python; files go to $work.
std::string environment_lines(const host::ResolvedRequest& environment);

/// Lines that write `text` to $work/NAME.
std::string file_lines(std::string_view name, std::string_view text);

}  // namespace trainctl::cli
