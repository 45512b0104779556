// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace trainctl::host {

/// Proportional set size of the processes, in bytes: each page shared by n of them counts 1/n. RSS where a kernel has
/// no smaps_rollup (before 4.14) or forbids it.
std::uint64_t tree_pss(const std::vector<pid_t>& pids);

/// The memory limit where no memory control group is writable: over the limit in two looks in a row ends the run. PSS,
/// because RSS would count what forked data loaders share once for each of them.
class PssWatch {
 public:
  explicit PssWatch(std::uint64_t limit) : limit_(limit) {}
  /// Look every second or so. True once the run is to be ended with cause memory_limit.
  bool over(const std::vector<pid_t>& pids);
  [[nodiscard]] std::uint64_t last() const { return last_; }
  [[nodiscard]] std::uint64_t limit() const { return limit_; }

 private:
  std::uint64_t limit_ = 0;
  std::uint64_t last_ = 0;
  int strikes_ = 0;
};

}  // namespace trainctl::host
