// SPDX-License-Identifier: Apache-2.0
// From the plan to the command line and the environment of each rank.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/container/image.hpp"
#include "host/distribution/mpi.hpp"
#include "host/distribution/rank_variables.hpp"
#include "host/waiter/waiter.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// Variables in the order they were first set; a later value replaces an earlier one.
class Variables {
 public:
  /// The environment of this process.
  static Variables inherited();
  void set(const std::string& name, const std::string& value);
  void set_default(const std::string& name, const std::string& value);
  void remove(const std::string& name);
  void remove_if(bool (*unwanted)(std::string_view name));
  void prepend_path(const std::string& name, const std::string& folder);
  void append_path(const std::string& name, const std::string& folder);
  [[nodiscard]] const std::string* find(const std::string& name) const;
  [[nodiscard]] std::vector<std::string> assignments() const;  ///< "K=V"

 private:
  std::map<std::string, std::string> values_;
};

/// What preparing an attempt made known.
struct Prepared {
  std::string python = "python3";  ///< of the environment
  /// The environment's: PATH, VIRTUAL_ENV, what setup lines changed; without a value: to be unset.
  std::vector<std::pair<std::string, std::optional<std::string>>> variables;
  /// With which MLflow finds the run's endpoint. They win over the spec's, whose no_proxy they contain.
  std::vector<std::pair<std::string, std::string>> endpoint;
  std::string environment;                  ///< BuiltEnvironment as JSON; empty when there is none
  std::vector<int> gpus;                    ///< assigned by admission
  bool hide_gpus = false;                   ///< CUDA_VISIBLE_DEVICES is set to `gpus` even when that is empty
  std::optional<MpiLauncher> mpi;           ///< for the distribution mpi
  std::optional<ContainerImage> container;  ///< the ranks run in it; `python` is a name in there
  Rendezvous rendezvous;                    ///< chosen when the ranks are about to start
  std::string interface;                    ///< that leads to the other machines of the run; empty: there are none
};

/// The folder in which the ranks start.
std::filesystem::path rank_directory(const format::Plan& plan, const format::AttemptPaths& attempt);

/// Where the script finds earlier outputs: those of the last attempt when it resumes, else what the plan names; empty
/// when there are none.
std::string resume_path(const format::Plan& plan, const format::RunPaths& run, int attempt);

/// mpiexec on the PATH the ranks will have.
Result<MpiLauncher> find_mpi(const format::Plan& plan, const Prepared& prepared);

/// The variables of `rank`. Errors: unreadable secrets.
Result<Variables> rank_environment(const format::Plan& plan, const format::RunPaths& run, int attempt, int rank,
                                   const Prepared& prepared);

/// All that the waiter of `rank` needs but its descriptors. Errors: unreadable secrets, a script that is missing.
Result<RankLaunch> make_launch(const format::Plan& plan, const format::RunPaths& run, int attempt, int rank,
                               const Prepared& prepared);

}  // namespace trainctl::host
