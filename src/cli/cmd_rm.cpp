// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/file.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "engine/supervision.hpp"
#include "format/plan.hpp"
#include "trainctl/error.hpp"

namespace trainctl::cli {
namespace {

struct RmArguments {
  std::vector<std::string> runs;
};

int rm_action(Context& context, const RmArguments& arguments) {
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  if (auto writable = store->check_writable(); !writable) return report(context, writable.error());
  const auto ids = store->resolve_all(arguments.runs);
  if (!ids) return report(context, ids.error());
  // All or nothing: a run that goes on keeps the others too. The locks are held until all is removed.
  std::vector<base::FileLock> locks;
  Errors errors;
  for (const std::string& id : *ids) {
    auto lock = engine::lock_ended(store->run(id));
    if (lock) {
      locks.push_back(std::move(*lock));
    } else {
      errors.push_back(std::move(lock).error());
    }
  }
  if (!errors.empty()) return report(context, errors);
  for (const std::string& id : *ids) {
    const auto plan = format::read_plan(store->run(id).plan());
    if (auto removed = store->remove_run(id); !removed) return report(context, removed.error());
    if (!context.json) context.note("removed " + (plan ? plan->name : id));
  }
  if (context.json) context.print({{"items", *ids}});
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
