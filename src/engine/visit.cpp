// SPDX-License-Identifier: Apache-2.0
#include "engine/visit.hpp"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/supervision.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "target/cancel.hpp"
#include "target/target.hpp"

namespace trainctl::engine {
namespace {

struct Visited {
  std::unique_ptr<target::Target> target;
  target::RunRef ref;
  target::Cancel cancel;
};

Result<Visited> open(const format::RunPaths& run) {
  TRY_ASSIGN(const format::Plan plan, format::read_plan(run.plan()));
  TRY_ASSIGN(auto target, target_of(run, plan));
  TRY_ASSIGN(auto ref, reference(run));
  TRY_ASSIGN(auto cancel, target::Cancel::create());
  return Visited{std::move(target), std::move(ref), std::move(cancel)};
}

}  // namespace

Result<std::vector<std::string>> way_to_program(const format::RunPaths& run, const target::Visit& visit) {
  TRY_ASSIGN(const auto there, open(run));
  return there.target->enter(there.ref, visit, there.cancel);
}

Result<std::vector<std::string>> way_to_port(const format::RunPaths& run, int port) {
  TRY_ASSIGN(const auto there, open(run));
  return there.target->forward(there.ref, port, there.cancel);
}

}  // namespace trainctl::engine
