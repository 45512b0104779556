// SPDX-License-Identifier: Apache-2.0
#include "host/resources/sampler.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "host/resources/gpu.hpp"
#include "host/resources/gpu_sampler.hpp"
#include "host/resources/proc.hpp"
#include "host/resources/process_tree.hpp"
#include "host/resources/pss.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

// Reading PSS walks page tables (some ms a GB), so it gets 1 % of the time and RSS is scaled by the last ratio between.
constexpr std::uint64_t kPssShare = 100;

bool is_root(const std::vector<pid_t>& roots, pid_t pid) {
  return std::find(roots.begin(), roots.end(), pid) != roots.end();
}

void add_line(std::string& text, double now, int rank, std::string_view name, double value, bool whole) {
  char buffer[192];  // NOLINT: formatted below
  const int used =
      std::snprintf(buffer, sizeof buffer,
                    whole ? "{\"t\":%.6f,\"step\":null,\"name\":\"system/%.*s\",\"value\":%.0f,\"rank\":%d}\n"
                          : "{\"t\":%.6f,\"step\":null,\"name\":\"system/%.*s\",\"value\":%.1f,\"rank\":%d}\n",
                    now, static_cast<int>(name.size()), name.data(), value, rank);
  if (used > 0) text.append(buffer, std::min(static_cast<std::size_t>(used), sizeof buffer - 1));
}

}  // namespace

std::string system_metrics_file(int rank, int node) {
  return "system-r" + std::to_string(rank) + "-n" + std::to_string(node) + ".jsonl";
}

Sampler::Sampler(std::function<std::vector<pid_t>()> roots, SamplerOptions options)
    : roots_(std::move(roots)), options_(std::move(options)) {
  if (!options_.gpus) return;
  if (const auto program = gpu_program()) gpu_ = std::make_unique<GpuSampler>(*program);
}
Sampler::~Sampler() = default;
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;

void Sampler::note_peak(std::uint64_t bytes) {
  usage_.memory_peak = std::max(usage_.memory_peak, bytes);
}

void Sampler::measure() {
  const std::vector<pid_t> roots = roots_();
  static const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  std::vector<pid_t> counted;
  std::uint64_t cpu = 0, resident = 0, read = 0, written = 0;
  for (const pid_t pid : find_tree(roots)) {
    const auto stat = read_process_stat(pid);
    if (!stat) continue;
    // Reaped children live on in their parent's sums: so a waiter, which is ours, still gives what its ranks used.
    cpu += stat->child_user + stat->child_system;
    if (const auto io = read_kernel_file(("/proc/" + std::to_string(pid) + "/io").c_str())) {
      read += kernel_field(*io, "read_bytes").value_or(0);
      written += kernel_field(*io, "write_bytes").value_or(0);
    }
    if (is_root(roots, pid)) continue;
    cpu += stat->user + stat->system;
    resident += stat->resident;
    counted.push_back(pid);
  }
  const std::uint64_t now = base::mono_ns();
  const double seconds = std::max(usage_.cpu_seconds, static_cast<double>(cpu) / ticks);
  if (sampled_ns_ != 0 && now > sampled_ns_)
    usage_.cpu_percent = (seconds - usage_.cpu_seconds) * 1e11 / static_cast<double>(now - sampled_ns_);
  sampled_ns_ = now;
  usage_.cpu_seconds = seconds;
  usage_.read_bytes = std::max(usage_.read_bytes, read);
  usage_.write_bytes = std::max(usage_.write_bytes, written);
  usage_.processes = static_cast<int>(counted.size());
  usage_.resident = resident;
  measure_memory(counted);
}

void Sampler::measure_memory(const std::vector<pid_t>& pids) {
  const std::uint64_t before = base::mono_ns();
  if (pids.size() < 2) {
    pss_ratio_ = 1;  // nothing within the tree to share pages with
  } else if (before >= pss_next_ns_ && usage_.resident > 0) {
    const std::uint64_t pss = tree_pss(pids);
    if (pss > 0) pss_ratio_ = std::min(1.0, static_cast<double>(pss) / static_cast<double>(usage_.resident));
    const std::uint64_t after = base::mono_ns();
    pss_next_ns_ = after + (after - before) * kPssShare;
  }
  usage_.memory = static_cast<std::uint64_t>(static_cast<double>(usage_.resident) * pss_ratio_);
  note_peak(usage_.memory);
  // The kernel's own high-water mark sees what happened between the samples, a process at a time.
  for (const pid_t pid : pids) {
    const auto status = read_kernel_file(("/proc/" + std::to_string(pid) + "/status").c_str());
    if (status) note_peak(kernel_field(*status, "VmHWM").value_or(0) * 1024);
  }
}

Result<> Sampler::write() {
  if (options_.file.empty()) return {};
  if (!file_) {
    TRY(base::make_directories(options_.file.parent_path()));
    TRY_ASSIGN(file_, base::open_file(options_.file, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW));
  }
  const double now = static_cast<double>(base::wall_now().time_since_epoch().count()) / 1e6;
  std::string text;
  const auto add = [&](std::string_view name, double value, bool whole = true) {
    add_line(text, now, options_.rank, name, value, whole);
  };
  if (usage_.cpu_percent) add("cpu_percent", *usage_.cpu_percent, false);
  add("memory_bytes", static_cast<double>(usage_.memory));
  add("memory_peak_bytes", static_cast<double>(usage_.memory_peak));
  add("read_bytes", static_cast<double>(usage_.read_bytes));
  add("write_bytes", static_cast<double>(usage_.write_bytes));
  add("processes", usage_.processes);
  for (const GpuUse& gpu : usage_.gpus) {
    add("gpu" + std::to_string(gpu.index) + "_percent", gpu.percent, false);
    add("gpu" + std::to_string(gpu.index) + "_memory_bytes", static_cast<double>(gpu.memory));
  }
  return base::write_all(file_.get(), text);
}

Result<Usage> Sampler::sample() {
  measure();
  if (gpu_) {
    usage_.gpus = gpu_->poll();
    const auto& mine = options_.gpu_indices;
    std::erase_if(usage_.gpus, [&](const GpuUse& gpu) {
      return !mine.empty() && std::find(mine.begin(), mine.end(), gpu.index) == mine.end();
    });
  }
  if (auto written = write(); !written) return fail(std::move(written).error().with_context("sample the run"));
  return usage_;
}

}  // namespace trainctl::host
