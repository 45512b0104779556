// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "archive/store.hpp"
#include "cli/commands.hpp"
#include "cli/wait.hpp"
#include "engine/supervision.hpp"
#include "format/plan.hpp"

namespace trainctl::cli {
namespace {

struct CancelArguments {
  std::vector<std::string> runs;
  std::string signal;
  bool no_wait = false;
};

Result<> cancel_one(const format::RunPaths& run, const CancelArguments& arguments) {
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  // Ending what has ended is not an error: the wish is fulfilled.
  if (format::is_terminal(state.state)) return {};
  if (!arguments.signal.empty()) {
    TRY(engine::request_signal(run, arguments.signal));
  } else {
    TRY(engine::request_cancel(run, "canceled by the user"));
  }
  return engine::ensure_supervised(run, state.attempt == 0 ? engine::Start::allowed : engine::Start::adopt_only);
}

int cancel_action(Context& context, const CancelArguments& arguments) {
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  if (auto writable = store->check_writable(); !writable) return report(context, writable.error());
  const auto ids = store->resolve_all(arguments.runs);
  if (!ids) return report(context, ids.error());
  Errors errors;
  for (const std::string& id : *ids) {
    if (auto canceled = cancel_one(store->run(id), arguments); !canceled) errors.push_back(canceled.error());
  }
  if (!errors.empty()) return report(context, errors);
  if (arguments.no_wait || !arguments.signal.empty()) return 0;
  for (const std::string& id : *ids) {
    const auto state = wait_for_end(store->run(id), {});
    if (!state) return report(context, state.error());
    const auto plan = format::read_plan(store->run(id).plan());
    if (!context.json) context.note((plan ? plan->name : id) + " " + std::string(format::to_string(state->state)));
  }
  if (context.json) context.print({{"items", *ids}});
  return 0;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<CancelArguments>();
  app.add_option("run", arguments->runs, "The runs to end")->type_name("RUN")->required()->expected(1, 1000);
  app.add_option("--signal", arguments->signal, "Send this signal to the ranks instead of ending the run")
      ->type_name("NAME");
  app.add_flag("--no-wait", arguments->no_wait, "Return as soon as the request is written");
  return [arguments](Context& context) { return cancel_action(context, *arguments); };
}

}  // namespace

Command cancel_command() {
  return {"cancel",
          "Running",
          "End runs: their stop signal, then SIGTERM, then SIGKILL for the whole tree",
          true,
          configure,
          Completes::run,
          "The request is written to the run's folder first, so it holds even if this command is killed."};
}

}  // namespace trainctl::cli
