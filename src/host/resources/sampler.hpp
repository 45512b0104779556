// SPDX-License-Identifier: Apache-2.0
// What a run uses, sampled from /proc into `system` metrics.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "host/resources/gpu_sampler.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// Use of a process tree. Counters are since the start of the run and never fall, though processes come and go.
struct Usage {
  double cpu_seconds = 0;
  std::optional<double> cpu_percent;  ///< since the sample before; 100 = one CPU busy; empty at the first sample
  std::uint64_t memory = 0;  ///< bytes, pages shared within the tree counted once (PSS) when it is cheap to know
  std::uint64_t memory_peak = 0;
  std::uint64_t resident = 0;    ///< sum of RSS
  std::uint64_t read_bytes = 0;  ///< from the storage layer
  std::uint64_t write_bytes = 0;
  int processes = 0;
  std::vector<GpuUse> gpus;  ///< newest known; empty without nvidia-smi
};

struct SamplerOptions {
  std::filesystem::path file;         ///< attempts/<n>/metrics/system-r0-n<node>.jsonl; empty = write nothing
  int rank = 0;                       ///< the first rank of this node
  bool gpus = true;                   ///< look for nvidia-smi
  std::vector<int> gpu_indices = {};  ///< the run's; empty = all that are visible
};

/// The name of a node's file: system-r<rank>-n<node>.jsonl.
std::string system_metrics_file(int rank, int node);

class Sampler {
 public:
  /// `roots` gives the waiters of this run's ranks: they are walked but not counted themselves (their own use is ours).
  Sampler(std::function<std::vector<pid_t>()> roots, SamplerOptions options);
  ~Sampler();
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;

  /// One look, one write(2) of at most a dozen lines. Call it every plan.metrics.interval; nothing blocks: nvidia-smi
  /// runs beside and is read at the next call. The file is made at the first sample; a full disk loses the sample, not
  /// the run.
  Result<Usage> sample();

  /// ru_maxrss of a reaped rank (bytes): the peak of runs that end between two samples.
  void note_peak(std::uint64_t bytes);

  [[nodiscard]] const Usage& last() const { return usage_; }
  /// For the `end` event.
  [[nodiscard]] std::uint64_t memory_peak() const { return usage_.memory_peak; }

 private:
  void measure();
  void measure_memory(const std::vector<pid_t>& pids);
  Result<> write();

  std::function<std::vector<pid_t>()> roots_;
  SamplerOptions options_;
  std::unique_ptr<GpuSampler> gpu_;
  Usage usage_;
  base::UniqueFd file_;
  std::uint64_t sampled_ns_ = 0;
  std::uint64_t pss_next_ns_ = 0;
  double pss_ratio_ = 1;  ///< PSS over RSS, at the last time PSS was read
};

}  // namespace trainctl::host
