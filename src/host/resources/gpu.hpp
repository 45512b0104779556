// SPDX-License-Identifier: Apache-2.0
// GPUs, as `nvidia-smi` tells them. A host without it has none.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::host {

struct Gpu {
  int index = 0;  ///< nvidia-smi's order, which is CUDA_DEVICE_ORDER=PCI_BUS_ID
  std::string uuid;
  std::string name;
  std::uint64_t memory = 0;  ///< bytes
};

/// A process that computes on a GPU.
struct GpuProcess {
  std::string uuid;  ///< of the GPU
  pid_t pid = 0;
  std::string name;
  std::uint64_t memory = 0;  ///< bytes, 0 when unknown
};

inline constexpr auto kGpuDeadline = std::chrono::seconds(10);

/// nvidia-smi on PATH; empty when there is none.
std::optional<std::filesystem::path> gpu_program();

/// All GPUs narrowed by our own CUDA_VISIBLE_DEVICES. No nvidia-smi, or one that says it has no devices or no driver:
/// empty. An nvidia-smi that hangs or fails otherwise is an error.
Result<std::vector<Gpu>> list_gpus(std::chrono::milliseconds deadline = kGpuDeadline);

/// Who computes on them now.
Result<std::vector<GpuProcess>> list_gpu_processes(std::chrono::milliseconds deadline = kGpuDeadline);

/// Pure parts. `visible` is the value of CUDA_VISIBLE_DEVICES: indices or UUID prefixes; the first one that names no
/// GPU ends the list, as in CUDA.
std::vector<Gpu> parse_gpus(std::string_view csv);
std::vector<GpuProcess> parse_gpu_processes(std::string_view csv);
std::vector<Gpu> narrow_gpus(const std::vector<Gpu>& gpus, std::string_view visible);

}  // namespace trainctl::host
