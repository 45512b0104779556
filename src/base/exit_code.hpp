// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "trainctl/error.hpp"

namespace trainctl::base {

/// The exit code a command ends with when it fails with this error (design: "Exit codes").
int exit_code_for(Errc code);

}  // namespace trainctl::base
