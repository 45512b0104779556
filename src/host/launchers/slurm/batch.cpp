// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/batch.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/launchers/slurm/options.hpp"

namespace trainctl::host::slurm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kMargin = std::chrono::minutes(1);  // to start, to list outputs, to write the end
constexpr std::uint64_t kMiB = 1U << 20U;

std::string option(const std::string& name, const std::string& value) {
  return "--" + name + "=" + value;
}

bool has_flag(const Options& options, std::string_view name) {
  return std::any_of(options.flags.begin(), options.flags.end(), [&](const auto& one) { return one.first == name; });
}

/// One task a process, so that an mpiexec of the site counts its slots right; the CPUs of a node are shared out.
void add_resources(const format::Plan& plan, const Options& options, std::vector<std::string>& words) {
  words.push_back(option("nodes", std::to_string(std::max(1, plan.resources.nodes))));
  const int tasks = std::max(1, plan.processes_per_node);
  words.push_back(option("ntasks-per-node", std::to_string(tasks)));
  const double cpus = plan.resources.cpus.value_or(options.cpus.value_or(0));
  if (cpus > 0) words.push_back(option("cpus-per-task", std::to_string(static_cast<int>(std::ceil(cpus / tasks)))));
  const auto memory = plan.resources.memory ? plan.resources.memory : options.memory;
  if (memory) words.push_back(option("mem", std::to_string((*memory + kMiB - 1) / kMiB) + "M"));
  const int gpus = plan.resources.gpus.value_or(0);
  if (gpus > 0 && !has_flag(options, "gres")) words.push_back(option("gres", "gpu:" + std::to_string(gpus)));
  if (const long minutes = time_minutes(plan, options); minutes > 0)
    words.push_back(option("time", std::to_string(minutes)));
}

}  // namespace

std::string comment_of(std::string_view run) {
  return "trainctl:" + std::string(run);
}

std::string job_name(const format::Plan& plan) {
  std::string name = plan.name.substr(0, 60);
  for (char& c : name) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    if (!plain) c = '_';
  }
  return name + "." + plan.id.substr(plan.id.size() - std::min<std::size_t>(6, plan.id.size()));
}

long time_minutes(const format::Plan& plan, const Options& options) {
  milliseconds wanted{0};
  if (plan.limits.timeout) wanted = *plan.limits.timeout + plan.stop.grace + kMargin;
  if (!plan.limits.timeout && options.time) wanted = *options.time;
  return static_cast<long>(std::chrono::ceil<std::chrono::minutes>(wanted).count());
}

std::vector<std::string> sbatch_words(const format::Plan& plan, const format::RunPaths& run, const Options& options) {
  const JobPaths paths(run);
  // %j is the job's id; a path with a % of its own must not be read as a pattern, and it has none: it ends in a ULID
  // below the store, whose % are doubled.
  std::string output = paths.output("%j").string();
  const std::string folder = paths.root.string();
  std::string doubled;
  for (const char c : folder) doubled += c == '%' ? "%%" : std::string(1, c);
  output = doubled + output.substr(folder.size());
  std::vector<std::string> words = {"sbatch",
                                    "--parsable",
                                    "--open-mode=append",
                                    options.requeue ? "--requeue" : "--no-requeue",
                                    option("job-name", job_name(plan)),
                                    option("comment", comment_of(plan.id)),
                                    option("output", output),
                                    option("chdir", run.root.string())};
  add_resources(plan, options, words);
  for (const auto& [name, value] : options.flags) words.push_back(option(name, value));
  if (options.exclusive) words.emplace_back("--exclusive");
  words.insert(words.end(), options.more.begin(), options.more.end());
  words.push_back(paths.script().string());
  return words;
}

std::string batch_script(const format::Plan& plan, const format::RunPaths& run, const std::filesystem::path& runner) {
  const std::string folder = base::shell_quote(runner.parent_path().string());
  std::string text =
      "#!/bin/sh\n# Run " + plan.id + " of trainctl. Options are words for sbatch, values are in plan.json.\n";
  text += "runner=" + base::shell_quote(runner.string()) + "\n";
  text += "\"$runner\" --version >/dev/null 2>&1 || for other in " + folder + "/trainctl-runner-*; do\n";
  text += "  \"$other\" --version >/dev/null 2>&1 && runner=$other && break\n";
  text += "done\n";
  text += "exec \"$runner\" supervise --foreground " + base::shell_quote(run.root.string()) + "\n";
  return text;
}

}  // namespace trainctl::host::slurm
