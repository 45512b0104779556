// SPDX-License-Identifier: Apache-2.0
// The checks of `trainctl selftest`: each starts runs on the target, does harm to what is ours, and proves from the run
// folder that nothing was lost, doubled or told wrong.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cli/selftest/clients.hpp"

namespace trainctl::cli::selftest {

struct Evidence {
  std::vector<std::string> facts;
  int interruptions = 0;  ///< processes that were killed, connections that were cut
};

struct Bench {
  Clients& clients;
  std::uint32_t seed;
};

struct Check {
  const char* name;   ///< for --only and JSON
  const char* title;  ///< what is claimed
  Result<Evidence> (*run)(Bench& bench);
  /// The supervisor is the batch job itself there: killing it is killing the job.
  bool hosts_only = false;
};

/// In the order in which they are made; the first finds out whether the target can be used at all.
std::span<const Check> all_checks();

/// Ends what still runs in the store of the checks and removes its runs, here and on the target; how many there were.
Result<int> clean_up(const Clients& clients);

}  // namespace trainctl::cli::selftest
