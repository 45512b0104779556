// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace trainctl::base {

/// Fills `size` bytes from the kernel's generator. A machine that has neither getrandom(2) nor /dev/urandom ends the
/// process: ids and secrets from a guessable source would be worse.
void fill_random(void* data, std::size_t size);

}  // namespace trainctl::base
