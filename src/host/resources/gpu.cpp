// SPDX-License-Identifier: Apache-2.0
#include "host/resources/gpu.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/process.hpp"
#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kMebibyte = 1U << 20U;

/// The comma-separated fields of each line, trimmed; the last field takes what is left (names may hold commas).
std::vector<std::vector<std::string>> rows(std::string_view csv, std::size_t fields) {
  std::vector<std::vector<std::string>> out;
  for (const std::string& line : base::split(csv, '\n')) {
    std::vector<std::string> row;
    std::string_view rest = line;
    while (row.size() + 1 < fields && rest.find(',') != std::string_view::npos) {
      const std::size_t comma = rest.find(',');
      row.emplace_back(base::trim(rest.substr(0, comma)));
      rest.remove_prefix(comma + 1);
    }
    row.emplace_back(base::trim(rest));
    if (row.size() == fields) out.push_back(std::move(row));
  }
  return out;
}

template <class T>
std::optional<T> whole_number(std::string_view text) {
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// The output of one query; empty when this host has no usable GPU.
Result<std::string> query(const std::string& what, std::chrono::milliseconds deadline) {
  const auto program = gpu_program();
  if (!program) return std::string();
  base::Command command;
  command.argv = {program->string(), what, "--format=csv,noheader,nounits"};
  command.deadline = deadline;
  command.max_output = 1U << 20U;
  auto output = base::run_command(command);
  if (!output) return fail(std::move(output).error().with_context("ask nvidia-smi for the GPUs"));
  // nvidia-smi documents 6 (no such device) and 9 (the driver is not loaded): installed, but there is nothing to use.
  if (output->exit_code == 6 || output->exit_code == 9) return std::string();
  if (output->exit_code != 0) {
    const std::string said(base::trim(output->err.empty() ? output->out : output->err));
    return fail(Errc::cannot_start,
                "nvidia-smi failed with exit code " + std::to_string(output->exit_code) + ": " + said,
                "run nvidia-smi by hand; a run without \"gpus\" does not need it");
  }
  return std::move(output->out);
}

}  // namespace

std::optional<std::filesystem::path> gpu_program() {
  return base::find_program("nvidia-smi");
}

Result<std::vector<Gpu>> list_gpus(std::chrono::milliseconds deadline) {
  TRY_ASSIGN(const std::string csv, query("--query-gpu=index,uuid,memory.total,name", deadline));
  auto gpus = parse_gpus(csv);
  if (const auto visible = base::get_env("CUDA_VISIBLE_DEVICES")) return narrow_gpus(gpus, *visible);
  return gpus;
}

Result<std::vector<GpuProcess>> list_gpu_processes(std::chrono::milliseconds deadline) {
  TRY_ASSIGN(const std::string csv, query("--query-compute-apps=gpu_uuid,pid,used_memory,process_name", deadline));
  return parse_gpu_processes(csv);
}

std::vector<Gpu> parse_gpus(std::string_view csv) {
  std::vector<Gpu> gpus;
  for (const auto& row : rows(csv, 4)) {
    const auto index = whole_number<int>(row[0]);
    if (!index || *index < 0) continue;
    gpus.push_back({*index, row[1], row[3], whole_number<std::uint64_t>(row[2]).value_or(0) * kMebibyte});
  }
  return gpus;
}

std::vector<GpuProcess> parse_gpu_processes(std::string_view csv) {
  std::vector<GpuProcess> processes;
  for (const auto& row : rows(csv, 4)) {
    const auto pid = whole_number<pid_t>(row[1]);
    if (!pid || *pid <= 0) continue;
    processes.push_back({row[0], *pid, row[3], whole_number<std::uint64_t>(row[2]).value_or(0) * kMebibyte});
  }
  return processes;
}

std::vector<Gpu> narrow_gpus(const std::vector<Gpu>& gpus, std::string_view visible) {
  std::vector<Gpu> kept;
  for (const std::string& word : base::split(visible, ',')) {
    const std::string_view name = base::trim(word);
    const auto index = whole_number<int>(name);
    const auto found = std::find_if(gpus.begin(), gpus.end(), [&](const Gpu& gpu) {
      return index ? gpu.index == *index : name.starts_with("GPU-") && gpu.uuid.starts_with(name);
    });
    if (found == gpus.end()) break;
    const bool twice = std::any_of(kept.begin(), kept.end(), [&](const Gpu& gpu) { return gpu.index == found->index; });
    if (!twice) kept.push_back(*found);
  }
  return kept;
}

}  // namespace trainctl::host
