// SPDX-License-Identifier: Apache-2.0
#include "host/resources/gpu_sampler.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/text.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kDeadlineNs = 10'000'000'000;
constexpr std::uint64_t kBackOffNs = 60'000'000'000;

}  // namespace

std::vector<GpuUse> parse_gpu_use(std::string_view csv) {
  std::vector<GpuUse> use;
  for (const std::string& line : base::split(csv, '\n')) {
    const auto fields = base::split(line, ',');
    if (fields.size() != 3) continue;
    std::array<double, 3> numbers{};
    bool good = true;
    for (std::size_t i = 0; i < 3; ++i) {
      const std::string field(base::trim(fields[i]));
      char* end = nullptr;
      numbers.at(i) = std::strtod(field.c_str(), &end);
      good = good && end != field.c_str() && *end == '\0' && numbers.at(i) >= 0;
    }
    // "[N/A]" (MIG, some laptops): that GPU has no figures.
    if (good) use.push_back({static_cast<int>(numbers[0]), numbers[1], static_cast<std::uint64_t>(numbers[2]) << 20U});
  }
  return use;
}

GpuSampler::GpuSampler(std::filesystem::path program) : program_(std::move(program)) {}

GpuSampler::~GpuSampler() {
  finish(true);
}

void GpuSampler::start() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
  const base::UniqueFd write_end(ends[1]);
  output_.reset(ends[0]);
  (void)::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, write_end.get(), 1);
  ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  sigset_t none;
  sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);  // the supervisor blocks signals
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::string name = program_.string();
  std::string query = "--query-gpu=index,utilization.gpu,memory.used";
  std::string form = "--format=csv,noheader,nounits";
  std::array<char*, 4> argv = {name.data(), query.data(), form.data(), nullptr};
  if (::posix_spawn(&child_, name.c_str(), &actions, &attributes, argv.data(), environ) != 0) {
    child_ = -1;
    output_.reset();
    quiet_until_ns_ = base::mono_ns() + kBackOffNs;
  }
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  started_ns_ = base::mono_ns();
  text_.clear();
}

void GpuSampler::finish(bool kill) {
  if (child_ > 0) {
    if (kill) ::kill(child_, SIGKILL);
    // A supervisor that reaps everything (waitpid(-1)) may have been first: ECHILD is fine.
    while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  child_ = -1;
  output_.reset();
}

const std::vector<GpuUse>& GpuSampler::poll() {
  const std::uint64_t now = base::mono_ns();
  if (child_ > 0) {
    std::array<char, 4096> buffer;  // NOLINT: filled by read
    ssize_t got = 0;
    while ((got = ::read(output_.get(), buffer.data(), buffer.size())) > 0)
      text_.append(buffer.data(), static_cast<std::size_t>(got));
    if (got == 0) {
      finish(false);
      use_ = parse_gpu_use(text_);
      if (use_.empty()) quiet_until_ns_ = now + kBackOffNs;  // no driver, no device: hardly ever changes
    } else if (now - started_ns_ > kDeadlineNs) {
      finish(true);
      use_.clear();
      quiet_until_ns_ = now + kBackOffNs;
    }
  }
  if (child_ < 0 && now >= quiet_until_ns_) start();
  return use_;
}

}  // namespace trainctl::host
