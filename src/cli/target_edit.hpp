// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/output.hpp"

namespace trainctl::cli {

struct TargetEdit {
  std::string name;
  std::vector<std::string> hosts;
  std::optional<std::string> ssh_config, directory, launcher;
  std::vector<std::string> set;  ///< any field of a target file: slurm.partition=gpu
  bool accept_new_host_keys = false;
  bool project = false;  ///< in the project's targets/, else in the user's
  bool replace = false;  ///< what is there already may go
};

/// `target add`: writes the file; the exit code.
int add_target(Context& context, const TargetEdit& edit);
/// `target rm`: removes the file. What the host keeps stays: `target clean` first.
int remove_target(Context& context, const TargetEdit& edit);

}  // namespace trainctl::cli
