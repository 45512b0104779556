// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "format/event.hpp"
#include "host/resources/gpu_sampler.hpp"
#include "host/resources/proc.hpp"
#include "host/resources/process_tree.hpp"
#include "host/resources/sampler.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;
namespace stdfs = std::filesystem;

namespace {

/// A waiter-like process with `children` sleeping children, each with `bytes` touched.
class Tree {
 public:
  Tree(int children, std::size_t bytes) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    root_ = ::fork();
    if (root_ == 0) {
      for (int i = 0; i < children; ++i) {
        if (::fork() != 0) continue;
        void* memory = ::mmap(nullptr, bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (std::size_t at = 0; at < bytes; at += 4096) static_cast<volatile char*>(memory)[at] = 1;
        (void)!::write(ends[1], "r", 1);
        ::pause();
        ::_exit(0);
      }
      ::pause();
      ::_exit(0);
    }
    char ready = 0;
    for (int i = 0; i < children; ++i) REQUIRE(::read(ends[0], &ready, 1) == 1);
    ::close(ends[0]);
    ::close(ends[1]);
  }
  ~Tree() {
    (void)signal_tree({root_}, {}, SIGKILL);
    ::waitpid(root_, nullptr, 0);
  }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;
  [[nodiscard]] pid_t root() const { return root_; }

 private:
  pid_t root_ = -1;
};

struct Folder {
  Folder() {
    std::string name = (stdfs::temp_directory_path() / "sampler-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { stdfs::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  stdfs::path path;
};

}  // namespace

TEST_CASE("the sampler counts the tree below the waiter and writes metric lines") {
  const Folder folder;
  const Tree tree(4, 8U << 20U);
  SamplerOptions options;
  options.file = folder.path / "metrics" / system_metrics_file(0, 0);
  options.gpus = false;
  Sampler sampler([&] { return std::vector<pid_t>{tree.root()}; }, options);
  REQUIRE(sampler.sample());
  const auto usage = sampler.sample();
  REQUIRE(usage);
  CHECK(usage->processes == 4);
  CHECK(usage->memory >= (32U << 20U));
  CHECK(usage->memory <= usage->resident);
  CHECK(usage->memory_peak >= usage->memory);
  CHECK(usage->cpu_percent.has_value());
  const auto lines = format::read_lines(options.file);
  REQUIRE(lines);
  REQUIRE(lines->size() == 5 + 6);
  CHECK(lines->back()["name"] == "system/processes");
  CHECK(lines->back()["value"] == 4);
  CHECK(lines->back()["step"].is_null());
  CHECK(lines->back()["t"].is_number());
  sampler.note_peak(UINT64_C(1) << 40U);
  CHECK(sampler.memory_peak() == UINT64_C(1) << 40U);
}

TEST_CASE("a sample costs a few reads for each process of the tree, however many the machine has") {
  const Tree tree(5, 1U << 20U);
  SamplerOptions options;
  options.gpus = false;
  Sampler sampler([&] { return std::vector<pid_t>{tree.root()}; }, options);
  REQUIRE(sampler.sample());
  const auto reads = [] { return kernel_field(read_kernel_file("/proc/self/io").value(), "syscr").value(); };
  const std::uint64_t before = reads();
  constexpr std::uint64_t kSamples = 50;
  for (std::uint64_t i = 0; i < kSamples; ++i) REQUIRE(sampler.sample());
  const std::uint64_t each = (reads() - before) / kSamples;
  INFO("one sample takes " << each << " reads");
  // children, stat, io, status and smaps_rollup, each read to its end: ten for a process, and the root of the tree.
  std::uint64_t most = 60;
  // A kernel without task/*/children leaves only the look at every process.
  if (!child_pids(::getpid())) most += 2 * all_pids().size();
  CHECK(each > 0);
  CHECK(each <= most);
}

TEST_CASE("CPU time of children that are gone stays in the sum") {
  const pid_t child = ::fork();
  if (child == 0) {
    // Its own CPU time, not the wall: on a busy machine the two differ.
    timespec used{};
    while (used.tv_sec == 0 && used.tv_nsec < 120'000'000) ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  // This process is the parent that reaped: as a root it gives its children's time and not its own.
  SamplerOptions options;
  options.gpus = false;
  const auto usage_of = [&](pid_t root) {
    Sampler sampler([root] { return std::vector<pid_t>{root}; }, options);
    return sampler.sample()->cpu_seconds;
  };
  const pid_t observer = ::fork();  // find_tree leaves the caller out, so another process looks at us
  if (observer == 0) ::_exit(usage_of(::getppid()) >= 0.1 ? 0 : 1);
  int status = 0;
  ::waitpid(observer, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("GPU use comes from nvidia-smi without waiting for it") {
  const Folder folder;
  const auto program = folder.path / "nvidia-smi";
  REQUIRE(base::write_file_atomic(program, "#!/bin/sh\nprintf '0, 37, 2048\\n1, [N/A], 3\\n'\n", 0755));
  GpuSampler sampler(program);
  CHECK(sampler.poll().empty());
  for (int i = 0; i < 500 && sampler.poll().empty(); ++i) ::usleep(10'000);
  REQUIRE(sampler.poll().size() == 1);
  CHECK(sampler.poll()[0].percent == 37);
  CHECK(sampler.poll()[0].memory == UINT64_C(2048) << 20U);
}
