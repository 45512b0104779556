// SPDX-License-Identifier: Apache-2.0
#include "cli/remote_runs.hpp"

#include <chrono>
#include <string>
#include <vector>

#include "archive/store.hpp"
#include "base/text.hpp"
#include "cli/output.hpp"
#include "engine/sync.hpp"
#include "format/paths.hpp"
#include "target/target.hpp"

namespace trainctl::cli {

std::vector<engine::TargetSync> refresh_runs(const Context& context, const archive::Store& store,
                                             const std::vector<std::string>& ids, std::chrono::milliseconds deadline,
                                             target::Until until) {
  std::vector<format::RunPaths> runs;
  runs.reserve(ids.size());
  for (const std::string& id : ids) runs.push_back(store.run(id));
  auto results = engine::sync(runs, deadline, until);
  for (const engine::TargetSync& one : results) {
    if (one.problem) context.warn(printable(one.target) + ": " + printable(one.problem->message));
    if (!one.missing.empty()) {
      context.warn(printable(one.target) + " has nothing any more of " + base::format_count(one.missing.size()) +
                   (one.missing.size() == 1 ? " run" : " runs"));
    }
  }
  return results;
}

}  // namespace trainctl::cli
