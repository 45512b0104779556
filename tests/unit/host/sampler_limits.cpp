// SPDX-License-Identifier: Apache-2.0
// Memory limits and the whole-tree kill, on the control groups of this machine. Where none is writable, it is checked
// that none is claimed and that the fallback finds the excess. TRAINCTL_TEST_MEMORY_CGROUP=1 promises one: then it must
// work.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <ratio>
#include <string>

#include "base/ulid.hpp"
#include "host/resources/capacity.hpp"
#include "host/resources/cgroup.hpp"
#include "host/resources/memory_limit.hpp"
#include "host/resources/proc.hpp"
#include "host/resources/process_tree.hpp"
#include "host/resources/pss.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;

namespace {

constexpr std::size_t kMiB = 1U << 20U;

[[noreturn]] void eat(std::size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (std::size_t at = 0; at < bytes; at += 4096) static_cast<volatile char*>(memory)[at] = 1;
  ::_exit(0);
}

/// Can a group with a memory limit be made beside ours, or above? Looks for itself, not through MemoryLimit.
bool may_make_memory_group() {
  for (const auto& own : {find_cgroup_v2(), find_cgroup_v1("memory")}) {
    if (!own) continue;
    const char* limit = own->version == 2 ? "memory.max" : "memory.limit_in_bytes";
    for (std::filesystem::path place = own->folder;; place = place.parent_path()) {
      const auto probe = place / ("trainctl-probe-" + base::new_ulid());
      const bool made = ::mkdir(probe.c_str(), 0700) == 0;
      const bool limited = made && ::access((probe / limit).c_str(), W_OK) == 0;
      if (made) ::rmdir(probe.c_str());
      if (limited) return true;
      if (place == own->mount || place == place.root_path()) break;
    }
  }
  return false;
}

bool promised() {
  const char* promise = std::getenv("TRAINCTL_TEST_MEMORY_CGROUP");
  return promise != nullptr && std::string(promise) == "1";
}

/// A child that holds `bytes` until it is killed.
class Eater {
 public:
  explicit Eater(std::size_t bytes) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      for (std::size_t at = 0; at < bytes; at += 4096) static_cast<volatile char*>(memory)[at] = 1;
      (void)!::write(ends[1], "r", 1);
      for (;;) ::pause();
    }
    char ready = 0;
    ::close(ends[1]);
    REQUIRE(::read(ends[0], &ready, 1) == 1);
    ::close(ends[0]);
  }
  ~Eater() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Eater(const Eater&) = delete;
  Eater& operator=(const Eater&) = delete;
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

#ifdef __SANITIZE_ADDRESS__
constexpr std::uint64_t kScale = 6;  // a process under AddressSanitizer holds some 60 MiB before it does anything
#else
constexpr std::uint64_t kScale = 1;
#endif

/// What the supervisor does where there is no group.
void check_fallback() {
  const Eater big(96 * kScale * kMiB);
  const Eater small(8 * kScale * kMiB);
  PssWatch watch(64 * kScale * kMiB);
  CHECK_FALSE(watch.over({big.pid(), small.pid()}));
  CHECK(watch.over({big.pid(), small.pid()}));
  CHECK(watch.last() > 96 * kScale * kMiB);
  CHECK_FALSE(watch.over({small.pid()}));  // it has gone down: the count begins again
  CHECK_FALSE(watch.over({big.pid()}));
}

/// A group when one can be had; else it is checked that this is so, and that the fallback works.
std::optional<MemoryLimit> limit_or_fallback(const std::string& name) {
  auto limit = MemoryLimit::create(name, 64 * kMiB);
  const bool possible = may_make_memory_group();
  INFO("a memory control group can be made here: " << possible << ", promised: " << promised());
  CHECK(limit.has_value() == possible);
  CHECK((limit.has_value() || !promised()));
  if (!limit) {
    WARN("no memory control group is writable here: the fallback is checked instead");
    CHECK_FALSE(MemoryLimit::attach(name));
    check_fallback();
  }
  return limit;
}

}  // namespace

TEST_CASE("the place of our group is found in every kind of mount") {
  const std::string mounts =
      "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
      "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
  const std::string groups = "4:memory:/a/b\n2:cpu,cpuacct:/\n0::/user.slice/x\n";
  const auto memory = locate_cgroup(groups, mounts, "memory");
  REQUIRE(memory);
  CHECK(memory->version == 1);
  CHECK(memory->folder == "/sys/fs/cgroup/memory/a/b");
  CHECK(locate_cgroup(groups, mounts, "")->folder == "/sys/fs/cgroup/unified/user.slice/x");
  CHECK_FALSE(locate_cgroup(groups, mounts, "cpu"));  // not mounted
  const std::string container = "9 8 0:3 /docker/x /sys/fs/cgroup\\040v2 ro - cgroup2 cgroup rw\n";
  CHECK(locate_cgroup("0::/docker/x/y\n", container, "")->folder == "/sys/fs/cgroup v2/y");
  CHECK(locate_cgroup("0::/../../z\n", container, "")->folder == "/sys/fs/cgroup v2");
}

TEST_CASE("the host offers at least one CPU and some memory") {
  const Capacity capacity = read_capacity();
  CHECK(capacity.cpus > 0);
  CHECK(capacity.memory > kMiB);
}

TEST_CASE("a memory control group ends what grows over its limit, and says so") {
  auto limit = limit_or_fallback(base::new_ulid() + "-1");
  if (!limit) return;
  const std::string procs = limit->procs_file();
  const auto run = [&](std::size_t bytes) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (enter_cgroup(procs.c_str()) != 0) ::_exit(9);
      eat(bytes);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
  };
  CHECK(run(16 * kMiB) == 0);
  CHECK(limit->oom_kills() == 0);
  const int status = run(256 * kMiB);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGKILL);
  CHECK(limit->oom_kills() == 1);
  CHECK(limit->peak() >= 60 * kMiB);
  REQUIRE(limit->event_fd() >= 0);
  pollfd poll{limit->event_fd(), POLLIN, 0};
  CHECK(::poll(&poll, 1, 2000) == 1);
  limit->drain();
  bool removed = limit->remove();
  for (int i = 0; i < 200 && !removed; ++i) {
    ::usleep(5000);
    removed = limit->remove();
  }
  CHECK(removed);
}

TEST_CASE("an adopter finds the memory group again by its name") {
  const std::string name = base::new_ulid() + "-1";
  auto limit = limit_or_fallback(name);
  if (!limit) return;
  const auto again = MemoryLimit::attach(name);
  REQUIRE(again);
  CHECK(again->procs_file() == limit->procs_file());
  CHECK(limit->remove());
  CHECK_FALSE(MemoryLimit::attach(name));
}

TEST_CASE("without a group two looks over the limit end the run") {
  const pid_t self = ::getpid();
  PssWatch watch(kMiB);
  CHECK_FALSE(watch.over({self}));
  CHECK(watch.over({self}));
  CHECK(watch.last() > kMiB);
  PssWatch wide(UINT64_C(1) << 40U);
  CHECK_FALSE(wide.over({self}));
  CHECK_FALSE(wide.over({self}));
  check_fallback();
}

TEST_CASE("a tree that forks, leaves its session and ignores signals is killed to the last process") {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const std::string marker = "TRAINCTL_RUN_ID=" + base::new_ulid();
  const pid_t child = ::fork();
  if (child == 0) {
    ::putenv(const_cast<char*>(marker.c_str()));
    // Daemons: orphaned, in sessions of their own, ignoring TERM; and a loop that forks all the time.
    ::execl(
        "/bin/sh", "sh", "-c",
        "trap '' TERM HUP INT; (setsid sleep 300 &) ; (setsid sh -c 'trap \"\" TERM; while :; do sleep 0.01 & done' &);"
        "while :; do sleep 0.01; done",
        nullptr);
    ::_exit(9);
  }
  // Its size goes up and down all the time: once it must have had all its parts.
  std::size_t most = 0;
  for (int i = 0; i < 500 && most < 4; ++i) {
    most = std::max(most, find_tree({child}, marker).size());
    if (most < 4) ::usleep(10'000);
  }
  CHECK(most >= 4);
  KillRequest request;
  request.roots = {child};
  request.marker = marker;
  request.name = "test";
  const auto begin = std::chrono::steady_clock::now();
  const auto result = kill_tree_until_empty(request);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  INFO("by " << result.means << " in " << took.count() << " ms");
  CHECK(result.empty);
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
  CHECK(find_tree({}, marker).empty());
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST_CASE("the waiter is spared") {
  const pid_t waiter = ::fork();
  if (waiter == 0) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    const pid_t rank = ::fork();
    if (rank == 0) {
      ::pause();
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(rank, &status, 0);
    ::_exit(WIFSIGNALED(status) ? 7 : 8);
  }
  for (int i = 0; i < 500 && find_tree({waiter}).size() < 2; ++i) ::usleep(1000);
  KillRequest request;
  request.roots = request.spare = {waiter};
  request.name = "spared";
  CHECK(kill_tree_until_empty(request).empty);
  int status = 0;
  ::waitpid(waiter, &status, 0);
  CHECK(WEXITSTATUS(status) == 7);
}

TEST_CASE("processes are read from /proc") {
  const auto stat = read_process_stat(::getpid());
  REQUIRE(stat);
  CHECK(stat->parent == ::getppid());
  CHECK(stat->session == ::getsid(0));
  CHECK(stat->resident > 0);
  CHECK_FALSE(read_process_stat(1'999'999'999));
  CHECK(kernel_field("a 1\noom_kill 3\n", "oom_kill") == 3);
  CHECK(kernel_field("Pss:      12 kB\n", "Pss") == 12);
  CHECK_FALSE(kernel_field("Pss_Anon: 1\n", "Pss"));
}
