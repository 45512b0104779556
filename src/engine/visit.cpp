// SPDX-License-Identifier: Apache-2.0
#include "engine/visit.hpp"

#include <memory>
#include <string>
#include <vector>

#include "engine/supervision.hpp"
#include "format/paths.hpp"
#include "target/cancel.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
Result<std::vector<std::string>> way_to_program(const format::RunPaths& run, const target::Visit& visit) {
  TRY_ASSIGN(const auto there, open_run(run));
  TRY_ASSIGN(const auto cancel, target::Cancel::create());
  return there.target->enter(there.ref, visit, cancel);
}

Result<std::vector<std::string>> way_to_port(const format::RunPaths& run, int port, int rank) {
  TRY_ASSIGN(const auto there, open_run(run));
  TRY_ASSIGN(const auto cancel, target::Cancel::create());
  return there.target->forward(there.ref, port, rank, cancel);
}

}  // namespace trainctl::engine
