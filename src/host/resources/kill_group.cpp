// SPDX-License-Identifier: Apache-2.0
#include "host/resources/kill_group.hpp"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "host/resources/cgroup.hpp"
#include "host/resources/proc.hpp"

namespace trainctl::host {

std::optional<KillGroup> KillGroup::create(const std::string& name) {
  // The pid keeps two supervisors (one adopting, one about to be noticed dead) out of each other's group.
  const std::string child = "trainctl-kill-" + name + "-" + std::to_string(::getpid());
  const auto make = [&](const std::optional<Cgroup>& parent, const char* needed) -> std::optional<KillGroup> {
    if (!parent) return std::nullopt;
    const fs::path folder = parent->folder / child;
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return std::nullopt;
    KillGroup group(folder, parent->version);
    if (::access((folder / needed).c_str(), W_OK) != 0) return std::nullopt;
    return group;
  };
  if (auto group = make(find_cgroup_v2(), "cgroup.kill")) return group;
  return make(find_cgroup_v1("freezer"), "freezer.state");
}

KillGroup::KillGroup(KillGroup&& other) noexcept
    : folder_(std::exchange(other.folder_, {})), version_(other.version_) {}

KillGroup::~KillGroup() {
  if (!folder_.empty()) ::rmdir(folder_.c_str());
}

bool KillGroup::add(pid_t pid) const {
  return write_kernel_file((folder_ / "cgroup.procs").string(), std::to_string(pid)) == 0;
}

std::vector<pid_t> KillGroup::pids() const {
  std::vector<pid_t> pids;
  const auto text = read_kernel_file((folder_ / "cgroup.procs").c_str());
  if (!text) return pids;
  for (const std::string& line : base::split(*text, '\n')) {
    pid_t pid = 0;
    if (std::from_chars(line.data(), line.data() + line.size(), pid).ec == std::errc{} && pid > 0) pids.push_back(pid);
  }
  return pids;
}

void KillGroup::kill() const {
  if (version_ == 2) {
    (void)write_kernel_file((folder_ / "cgroup.kill").string(), "1");
    return;
  }
  const std::string state = (folder_ / "freezer.state").string();
  (void)write_kernel_file(state, "FROZEN");
  for (const pid_t pid : pids()) ::kill(pid, SIGKILL);
  (void)write_kernel_file(state, "THAWED");  // frozen processes die only once they run again
}

}  // namespace trainctl::host
