// SPDX-License-Identifier: Apache-2.0
// From a plan to a job: the words for sbatch and the script it gets. Pure.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/launchers/slurm/options.hpp"

namespace trainctl::host::slurm {

/// "trainctl:<ulid>": by it a job is found again whose id was never heard.
std::string comment_of(std::string_view run);
/// For people who look at squeue: "digits-42.k3x9ab". Everybody can see it: no more than the run's name.
std::string job_name(const format::Plan& plan);

/// Files of a run in the hands of the launcher, below slurm/ of the run folder.
struct JobPaths {
  std::filesystem::path root;
  explicit JobPaths(const format::RunPaths& run) : root(run.root / "slurm") {}
  [[nodiscard]] std::filesystem::path record() const { return root / "events.jsonl"; }
  [[nodiscard]] std::filesystem::path lock() const { return root / "lock"; }
  [[nodiscard]] std::filesystem::path script() const { return root / "job.sh"; }
  /// What the batch process and Slurm itself say; the ranks have logs of their own.
  [[nodiscard]] std::filesystem::path output(std::string_view job) const {
    return root / ("job-" + std::string(job) + ".log");
  }
};

/// argv of sbatch, without values from the run's environment: those are in the plan.
std::vector<std::string> sbatch_words(const format::Plan& plan, const format::RunPaths& run, const Options& options);

/// `runner` lies where the nodes see it. On a node of another architecture one beside it is taken that can be executed.
std::string batch_script(const format::Plan& plan, const format::RunPaths& run, const std::filesystem::path& runner);

/// Minutes for --time: the run's limit, its grace and a minute, rounded up; what the target says for a run without
/// one; 0 = the partition's.
long time_minutes(const format::Plan& plan, const Options& options);

}  // namespace trainctl::host::slurm
