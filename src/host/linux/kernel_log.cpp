// SPDX-License-Identifier: Apache-2.0
#include "host/linux/kernel_log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>

#include "base/fd.hpp"

namespace trainctl::host {

bool kernel_killed_for_memory(pid_t pid) {
  const base::UniqueFd fd(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return false;
  const std::string wanted = "Killed process " + std::to_string(pid) + " (";
  std::array<char, 8192> record{};  // one read is one record
  for (;;) {
    const ssize_t count = ::read(fd.get(), record.data(), record.size());
    if (count < 0 && errno == EPIPE) continue;  // it was overwritten while we read on
    if (count <= 0) return false;
    if (std::string_view(record.data(), static_cast<std::size_t>(count)).find(wanted) != std::string_view::npos) {
      return true;
    }
  }
}

}  // namespace trainctl::host
