// SPDX-License-Identifier: Apache-2.0
// What this host gives its runs.
#pragma once

#include <cstdint>
#include <string>

namespace trainctl::host {

struct Capacity {
  double cpus = 1;                ///< CPUs we may run on (sched_getaffinity), capped by the cgroup's quota
  std::uint64_t memory = 0;       ///< bytes: MemTotal, capped by the cgroup's limit
  std::string cpus_limit = {};    ///< what capped it: "" | "affinity" | "cgroup"
  std::string memory_limit = {};  ///< "" | "cgroup"
};

Capacity read_capacity();

}  // namespace trainctl::host
