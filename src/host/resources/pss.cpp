// SPDX-License-Identifier: Apache-2.0
#include "host/resources/pss.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/resources/proc.hpp"

namespace trainctl::host {
namespace {

std::uint64_t tree_resident(const std::vector<pid_t>& pids) {
  std::uint64_t sum = 0;
  for (const pid_t pid : pids) {
    if (const auto stat = read_process_stat(pid)) sum += stat->resident;
  }
  return sum;
}

}  // namespace

std::uint64_t tree_pss(const std::vector<pid_t>& pids) {
  std::uint64_t sum = 0;
  for (const pid_t pid : pids) {
    const auto text = read_kernel_file(("/proc/" + std::to_string(pid) + "/smaps_rollup").c_str());
    const auto pss = text ? kernel_field(*text, "Pss") : std::nullopt;
    if (pss) {
      sum += *pss * 1024;
    } else if (const auto stat = read_process_stat(pid); stat && !stat->dead()) {
      sum += stat->resident;
    }
  }
  return sum;
}

bool PssWatch::over(const std::vector<pid_t>& pids) {
  // RSS is cheap and never less than PSS: while it is under the limit there is nothing to look up.
  last_ = tree_resident(pids);
  if (last_ > limit_) last_ = tree_pss(pids);
  strikes_ = last_ > limit_ ? strikes_ + 1 : 0;
  return strikes_ >= 2;
}

}  // namespace trainctl::host
