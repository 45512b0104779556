// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace trainctl::snapshot {

/// Makes the empty file `to` share the bytes of `from` (reflink): at once, atomically, copy on write. False where the
/// file system cannot; `to` is then still empty.
bool clone_file(int to, int from);

/// Copies up to `size` bytes from the positions of both files inside the kernel. The number copied, or -1 where that
/// does not work (then copy by hand); errno is set.
std::int64_t copy_in_kernel(int to, int from, std::uint64_t size);

}  // namespace trainctl::snapshot
