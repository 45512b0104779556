// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "archive/store.hpp"
#include "base/file.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "cli/wait.hpp"
#include "engine/supervision.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/linux/process.hpp"
#include "host/linux/process_tree.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

constexpr std::chrono::milliseconds kSilence{3000};

struct CancelArguments {
  std::vector<std::string> runs;
  std::optional<std::string> signal;
  bool no_wait = false;
};

Result<> cancel_one(const format::RunPaths& run, const CancelArguments& arguments, engine::CancelRequests& requests) {
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  // Ending what has ended is not an error: the wish is fulfilled.
  if (format::is_terminal(state.state)) {
    if (!arguments.signal) return {};
    return fail(Errc::not_found, "the run has ended: there is nobody to send " + *arguments.signal + " to");
  }
  if (arguments.signal) return engine::request_signal(run, *arguments.signal);
  TRY(requests.request(run, "canceled by the user"));
  return engine::ensure_supervised(run, state.attempt == 0 ? engine::Start::allowed : engine::Start::adopt_only);
}

/// What a run that does not end may be waiting for: a stopped supervisor reads no requests.
std::string why_it_goes_on(const format::RunPaths& run) {
  const auto holder = base::lock_holder(run.supervisor_lock());
  if (!holder) return "its supervisor stops it";
  const auto process = host::read_process(*holder);
  const std::string pid = std::to_string(*holder);
  if (!process || (process->state != 'T' && process->state != 't')) return "process " + pid + " stops it";
  return "process " + pid + ", which supervises it, is stopped: kill -CONT " + pid;
}

/// To the end, however long its grace is; who is waited for is said after a while.
Result<format::RunState> wait_and_say(Context& context, const format::RunPaths& run, const std::string& name) {
  auto state = wait_for_end(run, kSilence);
  if (state || state.error().code != Errc::timeout) return state;
  context.note("waiting for the end of " + name + ": " + why_it_goes_on(run));
  context.err.flush();
  return wait_for_end(run, {});
}

Result<> check_signal(const CancelArguments& arguments) {
  if (!arguments.signal || host::signal_number(*arguments.signal)) return {};
  return fail(Errc::invalid, "--signal: \"" + *arguments.signal + "\" is no signal", "for example SIGUSR1");
}

int cancel_action(Context& context, const CancelArguments& arguments) {
  if (auto known = check_signal(arguments); !known) return report(context, known.error());
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  if (auto writable = store->check_writable(); !writable) return report(context, writable.error());
  const auto ids = store->resolve_all(arguments.runs);
  if (!ids) return report(context, ids.error());
  Errors errors;
  engine::CancelRequests requests;
  for (const std::string& id : *ids) {
    if (auto canceled = cancel_one(store->run(id), arguments, requests); !canceled) errors.push_back(canceled.error());
  }
  if (!errors.empty()) return report(context, errors);
  if (arguments.no_wait || arguments.signal) return 0;
  for (const std::string& id : *ids) {
    const auto plan = format::read_plan(store->run(id).plan());
    const std::string name = plan ? plan->name : id;
    const auto state = wait_and_say(context, store->run(id), name);
    if (!state) return report(context, state.error());
    if (!context.json) context.note(name + " " + std::string(format::to_string(state->state)));
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
