// SPDX-License-Identifier: Apache-2.0
// Control groups as they are found at run time (cgroups(7)): v1, v2, or both (hybrid).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace trainctl::host {

namespace fs = std::filesystem;

struct Cgroup {
  int version = 0;  ///< 1 or 2
  fs::path mount;   ///< where its hierarchy is mounted
  fs::path folder;  ///< the group this process is in
};

/// Our group in the v1 hierarchy of `controller` ("memory", "freezer", "cpu").
std::optional<Cgroup> find_cgroup_v1(std::string_view controller);
/// Our group in the v2 hierarchy, wherever that is mounted.
std::optional<Cgroup> find_cgroup_v2();

/// Pure part, for tests: the texts of /proc/self/cgroup and /proc/self/mountinfo; empty controller = v2.
std::optional<Cgroup> locate_cgroup(std::string_view groups, std::string_view mountinfo, std::string_view controller);

/// The smallest value of `file` in the group and its ancestors up to the mount; "max" and absent files limit nothing.
std::optional<std::uint64_t> smallest_up(const Cgroup& group, std::string_view file);

}  // namespace trainctl::host
