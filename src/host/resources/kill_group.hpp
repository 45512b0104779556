// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace trainctl::host {

/// A control group made only to kill what is moved into it, at once and with all it forks meanwhile. Removed (best
/// effort) with the object.
class KillGroup {
 public:
  /// Below our own group: v2 where cgroup.kill exists (Linux 5.14), else the v1 freezer. Empty when neither is
  /// writable.
  static std::optional<KillGroup> create(const std::string& name);
  ~KillGroup();
  KillGroup(KillGroup&& other) noexcept;
  KillGroup& operator=(KillGroup&&) = delete;

  /// False when the process is gone or may not be moved.
  [[nodiscard]] bool add(pid_t pid) const;
  /// v2: one write. v1: freeze, SIGKILL each, thaw.
  void kill() const;
  [[nodiscard]] const char* means() const { return version_ == 2 ? "cgroup.kill" : "freezer"; }
  [[nodiscard]] std::vector<pid_t> pids() const;

 private:
  KillGroup(std::filesystem::path folder, int version) : folder_(std::move(folder)), version_(version) {}
  std::filesystem::path folder_;
  int version_ = 2;
};

}  // namespace trainctl::host
