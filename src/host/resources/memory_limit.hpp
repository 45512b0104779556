// SPDX-License-Identifier: Apache-2.0
// The hard memory limit of a run: a control group of its own where one is writable (found at run time, v2 or v1).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/fd.hpp"
#include "host/resources/pss.hpp"

namespace trainctl::host {

class MemoryLimit {
 public:
  /// A group `trainctl-<name>` (name: <run ulid>-<attempt>) with a hard limit of `bytes`, swap included; taken over
  /// when it exists (adoption). Empty when no memory control group may be written here: then sample with PssWatch.
  static std::optional<MemoryLimit> create(const std::string& name, std::uint64_t bytes);
  /// The existing group of a run that is adopted; empty when there is none.
  static std::optional<MemoryLimit> attach(const std::string& name);

  MemoryLimit(MemoryLimit&&) noexcept = default;
  MemoryLimit& operator=(MemoryLimit&&) noexcept = default;

  /// Hand this to the waiter; the rank's child calls enter_cgroup() with it between fork and exec.
  [[nodiscard]] const std::string& procs_file() const { return procs_; }

  /// Processes the kernel killed because the group was full. More than 0: end the run with cause memory_limit.
  [[nodiscard]] std::uint64_t oom_kills() const;
  /// Highest use, page cache included; 0 when the kernel does not tell (v2 before 5.19).
  [[nodiscard]] std::uint64_t peak() const;
  /// Readable (level: read 8 bytes; v2: an inotify event) when oom_kills() may have grown; -1 when unsupported.
  [[nodiscard]] int event_fd() const { return event_.get(); }
  void drain() const;

  /// Removes the group; false while processes are in it (call again once the tree is empty).
  bool remove();
  [[nodiscard]] int version() const { return version_; }

 private:
  MemoryLimit(std::filesystem::path folder, int version);
  void watch();
  std::filesystem::path folder_;
  std::string procs_;
  base::UniqueFd event_;
  base::UniqueFd watched_;
  int version_ = 2;
};

/// Moves the calling process into the group: 0, or errno. Async-signal-safe: for the child between fork and exec.
int enter_cgroup(const char* procs_file) noexcept;

}  // namespace trainctl::host
