// SPDX-License-Identifier: Apache-2.0
#include "host/resources/capacity.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>

#include "base/text.hpp"
#include "host/resources/cgroup.hpp"
#include "host/resources/proc.hpp"

namespace trainctl::host {
namespace {

/// CPUs in our affinity mask; hosts with more than 1,024 CPUs need a bigger mask than cpu_set_t.
int affinity_cpus() {
  for (int cpus = CPU_SETSIZE; cpus <= (1 << 16); cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(cpus));
    const std::size_t size = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
    const int count = ::sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
}

/// The tightest CPU quota of our group and its ancestors, in CPUs.
std::optional<double> quota_cpus() {
  std::optional<double> smallest;
  const auto take = [&smallest](double quota, double period) {
    if (quota > 0 && period > 0) smallest = std::min(smallest.value_or(quota / period), quota / period);
  };
  const auto walk = [](const Cgroup& group, const auto& visit) {
    for (fs::path folder = group.folder;; folder = folder.parent_path()) {
      visit(folder);
      if (folder == group.mount || folder == folder.root_path()) return;
    }
  };
  if (const auto group = find_cgroup_v2()) {
    walk(*group, [&](const fs::path& folder) {
      const auto text = read_kernel_file((folder / "cpu.max").c_str());  // "max 100000" or "200000 100000"
      if (!text || text->starts_with("max")) return;
      const auto words = base::split(base::trim(*text), ' ');
      if (words.size() == 2) take(std::strtod(words[0].c_str(), nullptr), std::strtod(words[1].c_str(), nullptr));
    });
  }
  if (const auto group = find_cgroup_v1("cpu")) {
    walk(*group, [&](const fs::path& folder) {
      const auto quota = read_kernel_number((folder / "cpu.cfs_quota_us").string());  // "-1" does not parse: no quota
      const auto period = read_kernel_number((folder / "cpu.cfs_period_us").string());
      if (quota && period) take(static_cast<double>(*quota), static_cast<double>(*period));
    });
  }
  return smallest;
}

}  // namespace

Capacity read_capacity() {
  Capacity capacity;
  capacity.cpus = affinity_cpus();
  if (capacity.cpus < static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN))) capacity.cpus_limit = "affinity";
  if (const auto quota = quota_cpus(); quota && *quota < capacity.cpus) {
    capacity.cpus = *quota;
    capacity.cpus_limit = "cgroup";
  }
  if (const auto text = read_kernel_file("/proc/meminfo"))
    capacity.memory = kernel_field(*text, "MemTotal").value_or(0) * 1024;
  const auto cap = [&capacity](const std::optional<Cgroup>& group, std::string_view file) {
    if (!group) return;
    const auto limit = smallest_up(*group, file);
    if (!limit || (capacity.memory != 0 && *limit >= capacity.memory)) return;
    capacity.memory = *limit;
    capacity.memory_limit = "cgroup";
  };
  cap(find_cgroup_v2(), "memory.max");
  cap(find_cgroup_v1("memory"), "memory.limit_in_bytes");
  return capacity;
}

}  // namespace trainctl::host
