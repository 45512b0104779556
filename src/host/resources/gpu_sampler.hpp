// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"

namespace trainctl::host {

struct GpuUse {
  int index = 0;
  double percent = 0;        ///< time share a kernel was running
  std::uint64_t memory = 0;  ///< bytes in use
};

/// Pure: nvidia-smi --query-gpu=index,utilization.gpu,memory.used --format=csv,noheader,nounits
std::vector<GpuUse> parse_gpu_use(std::string_view csv);

/// Asks nvidia-smi without ever waiting for it: poll() starts it and takes the answer of the call before. It takes 30
/// ms to seconds, which the supervisor's loop does not have. One that hangs is killed after 10 s and asked less often.
class GpuSampler {
 public:
  explicit GpuSampler(std::filesystem::path program);
  ~GpuSampler();
  GpuSampler(const GpuSampler&) = delete;
  GpuSampler& operator=(const GpuSampler&) = delete;

  const std::vector<GpuUse>& poll();

 private:
  void start();
  void finish(bool kill);

  std::filesystem::path program_;
  base::UniqueFd output_;
  std::string text_;
  std::vector<GpuUse> use_;
  pid_t child_ = -1;
  std::uint64_t started_ns_ = 0;
  std::uint64_t quiet_until_ns_ = 0;
};

}  // namespace trainctl::host
