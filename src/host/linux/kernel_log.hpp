// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

namespace trainctl::host {

/// Does the kernel's log say that it killed this process because memory ran out? False where it may not be read.
bool kernel_killed_for_memory(pid_t pid);

}  // namespace trainctl::host
