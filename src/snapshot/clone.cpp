// SPDX-License-Identifier: Apache-2.0
#include "snapshot/clone.hpp"

#include <stdint.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#ifdef __linux__
#include <linux/fs.h>
#include <sys/ioctl.h>
#endif

namespace trainctl::snapshot {

bool clone_file([[maybe_unused]] int to, [[maybe_unused]] int from) {
#ifdef FICLONE
  return ::ioctl(to, FICLONE, from) == 0;
#else
  return false;
#endif
}

std::int64_t copy_in_kernel([[maybe_unused]] int to, [[maybe_unused]] int from, [[maybe_unused]] std::uint64_t size) {
#ifdef __linux__
  constexpr std::uint64_t kMost = UINT64_C(1) << 30U;
  return ::copy_file_range(from, nullptr, to, nullptr, static_cast<std::size_t>(size < kMost ? size : kMost), 0);
#else
  return -1;
#endif
}

}  // namespace trainctl::snapshot
