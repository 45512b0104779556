// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "archive/store.hpp"
#include "cli/commands.hpp"
#include "engine/supervision.hpp"
#include "format/fold.hpp"
#include "format/plan.hpp"

namespace trainctl::cli {
namespace {

struct RmArguments {
  std::vector<std::string> runs;
};

int rm_action(Context& context, const RmArguments& arguments) {
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  std::vector<std::string> ids;
  Errors errors;
  for (const std::string& name : arguments.runs) {
    const auto id = store->resolve(name);
    if (!id) {
      errors.push_back(id.error());
      continue;
    }
    const auto state = format::fold_run(store->run(*id));
    if (state && !format::is_terminal(state->state) && (state->attempt > 0 || engine::is_supervised(store->run(*id)))) {
      errors.push_back({.code = Errc::invalid,
                        .message = name + " has not ended (" + std::string(format::to_string(state->state)) + ")",
                        .hint = "trainctl cancel " + name});
      continue;
    }
    ids.push_back(*id);
  }
  // All or nothing: a mistyped name removes no other run.
  if (!errors.empty()) return report(context, errors);
  for (const std::string& id : ids) {
    const auto plan = format::read_plan(store->run(id).plan());
    if (auto removed = store->remove_run(id); !removed) return report(context, removed.error());
    if (!context.json) context.note("removed " + (plan ? plan->name : id));
  }
  if (context.json) context.print({{"items", ids}});
  return 0;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<RmArguments>();
  app.add_option("run", arguments->runs, "The runs to remove")->type_name("RUN")->required()->expected(1, 100000);
  return [arguments](Context& context) { return rm_action(context, *arguments); };
}

}  // namespace

Command rm_command() {
  return {"rm",
          "Keeping",
          "Remove ended runs: their logs, metrics and outputs",
          false,
          configure,
          Completes::run,
          "There is no way back. The names of removed runs are not used again."};
}

}  // namespace trainctl::cli
