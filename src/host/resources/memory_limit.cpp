// SPDX-License-Identifier: Apache-2.0
#include "host/resources/memory_limit.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/resources/cgroup.hpp"
#include "host/resources/proc.hpp"

namespace trainctl::host {
namespace {

/// Where a group may be made: our own group, then its ancestors. On v2 a group that holds processes cannot have
/// children with controllers, so there the place is usually above us (a delegated slice), if it is writable at all.
std::vector<fs::path> candidates(const Cgroup& group) {
  std::vector<fs::path> places;
  for (fs::path folder = group.folder;; folder = folder.parent_path()) {
    if (::access(folder.c_str(), W_OK) != 0 || ::access((folder / "cgroup.procs").c_str(), W_OK) != 0) return places;
    places.push_back(folder);
    if (folder == group.mount || folder == folder.root_path()) return places;
  }
}

bool set_limit(const fs::path& folder, int version, std::uint64_t bytes) {
  const std::string value = std::to_string(bytes);
  if (version == 2) {
    if (write_kernel_file((folder / "memory.max").string(), value) != 0) return false;
    // Absent without swap accounting. A limit that swaps instead of ending is none, and half a dead tree hangs.
    (void)write_kernel_file((folder / "memory.swap.max").string(), "0");
    (void)write_kernel_file((folder / "memory.oom.group").string(), "1");
    return true;
  }
  if (write_kernel_file((folder / "memory.limit_in_bytes").string(), value) != 0) return false;
  (void)write_kernel_file((folder / "memory.memsw.limit_in_bytes").string(), value);
  return true;
}

}  // namespace

MemoryLimit::MemoryLimit(std::filesystem::path folder, int version)
    : folder_(std::move(folder)), procs_((folder_ / "cgroup.procs").string()), version_(version) {
  watch();
}

std::optional<MemoryLimit> MemoryLimit::create(const std::string& name, std::uint64_t bytes) {
  const auto make = [&](const std::optional<Cgroup>& own) -> std::optional<MemoryLimit> {
    if (!own) return std::nullopt;
    for (const fs::path& place : candidates(*own)) {
      // Only our own group is changed; what its ancestors pass on to their children is theirs to say.
      if (own->version == 2 && place == own->folder)
        (void)write_kernel_file((place / "cgroup.subtree_control").string(), "+memory");
      const fs::path folder = place / ("trainctl-" + name);
      if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) continue;
      if (set_limit(folder, own->version, bytes)) return MemoryLimit(folder, own->version);
      ::rmdir(folder.c_str());
    }
    return std::nullopt;
  };
  if (auto limit = make(find_cgroup_v2())) return limit;
  return make(find_cgroup_v1("memory"));
}

std::optional<MemoryLimit> MemoryLimit::attach(const std::string& name) {
  for (const auto& own : {find_cgroup_v2(), find_cgroup_v1("memory")}) {
    if (!own) continue;
    for (fs::path place = own->folder;; place = place.parent_path()) {
      const fs::path folder = place / ("trainctl-" + name);
      const char* limit = own->version == 2 ? "memory.max" : "memory.limit_in_bytes";
      if (::access((folder / limit).c_str(), F_OK) == 0) return MemoryLimit(folder, own->version);
      if (place == own->mount || place == place.root_path()) break;
    }
  }
  return std::nullopt;
}

void MemoryLimit::watch() {
  if (version_ == 2) {
    event_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (event_ && ::inotify_add_watch(event_.get(), (folder_ / "memory.events").c_str(), IN_MODIFY) < 0) event_.reset();
    return;
  }
  // v1: an eventfd registered for memory.oom_control (cgroup-v1/memory.rst, "OOM Control").
  event_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  watched_.reset(::open((folder_ / "memory.oom_control").c_str(), O_RDONLY | O_CLOEXEC));
  if (!event_ || !watched_) {
    event_.reset();
    return;
  }
  const std::string line = std::to_string(event_.get()) + " " + std::to_string(watched_.get());
  if (write_kernel_file((folder_ / "cgroup.event_control").string(), line) != 0) event_.reset();
}

void MemoryLimit::drain() const {
  std::array<char, 4096> buffer;  // NOLINT: filled by read
  while (event_ && ::read(event_.get(), buffer.data(), buffer.size()) > 0) {
    if (version_ == 1) return;  // one read resets an eventfd
  }
}

std::uint64_t MemoryLimit::oom_kills() const {
  const auto text = read_kernel_file((folder_ / (version_ == 2 ? "memory.events" : "memory.oom_control")).c_str());
  return text ? kernel_field(*text, "oom_kill").value_or(0) : 0;
}

std::uint64_t MemoryLimit::peak() const {
  const char* file = version_ == 2 ? "memory.peak" : "memory.max_usage_in_bytes";
  return read_kernel_number((folder_ / file).string()).value_or(0);
}

bool MemoryLimit::remove() {
  watched_.reset();
  event_.reset();
  return ::rmdir(folder_.c_str()) == 0 || errno == ENOENT;
}

int enter_cgroup(const char* procs_file) noexcept {
  const int fd = ::open(procs_file, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  const ssize_t written = ::write(fd, "0", 1);  // 0 is the writer itself
  const int problem = written == 1 ? 0 : errno;
  ::close(fd);
  return problem;
}

}  // namespace trainctl::host
