// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/output.hpp"

namespace trainctl::cli {

/// `target show local`: what this machine has, who holds it, strangers on its GPUs. The exit code.
int show_local_slots(Context& context);

}  // namespace trainctl::cli
