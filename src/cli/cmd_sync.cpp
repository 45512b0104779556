// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "archive/contact.hpp"
#include "archive/store.hpp"
#include "base/exit_code.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "cli/remote_runs.hpp"
#include "cli/transfer.hpp"
#include "engine/collect.hpp"
#include "engine/sync.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/plan_target.hpp"
#include "format/state.hpp"
#include "index/index.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

constexpr std::size_t kMostRuns = 10'000;
constexpr std::chrono::milliseconds kBudget{1000};

struct SyncArguments {
  std::vector<std::string> runs;
  std::string timeout = "60s";
  bool logs = false;
  bool no_collect = false;
};

/// The target of this ended run has something yet that is wanted here.
bool is_outstanding(const format::RunPaths& run) {
  const archive::Contact contact = archive::read_contact(run);
  if (contact.gone) return false;
  if (!contact.whole) return true;
  const auto plan = format::read_plan(run.plan());
  const auto state = format::fold_run(run);
  return plan && state && engine::outputs_record(run, *plan, *state).state == engine::OutputsAre::pending;
}

Result<std::vector<std::string>> unfinished_runs(const archive::Store& store) {
  TRY_ASSIGN(const auto index, index::Index::open(store, index::Mode::read));
  TRY(index->refresh(kBudget));
  TRY_ASSIGN(auto ids, index->open_runs(kMostRuns));
  TRY_ASSIGN(const auto ended, index->ended_elsewhere(kMostRuns));
  std::copy_if(ended.begin(), ended.end(), std::back_inserter(ids),
               [&store](const std::string& id) { return is_outstanding(store.run(id)); });
  return ids;
}

/// The runs that are named, else all of which something is not here yet.
ResultAll<std::vector<std::string>> wanted_runs(const archive::Store& store, const SyncArguments& arguments) {
  if (!arguments.runs.empty()) return store.resolve_all(arguments.runs);
  auto unfinished = unfinished_runs(store);
  if (!unfinished) return tl::make_unexpected(Errors{std::move(unfinished).error()});
  return std::move(*unfinished);
}

Json to_json(const engine::TargetSync& one) {
  Json problem = nullptr;
  if (one.problem) problem = error_to_json(*one.problem);
  return {{"target", one.target}, {"runs", one.runs}, {"missing", one.missing},     {"bytes", one.bytes},
          {"lines", one.lines},   {"busy", one.busy}, {"error", std::move(problem)}};
}

std::string text_of(const engine::TargetSync& one) {
  std::string text = printable(one.target) + "  " + base::format_count(one.runs.size()) +
                     (one.runs.size() == 1 ? " run, " : " runs, ") + base::format_size(one.bytes);
  if (one.lines > 0)
    text += " with " + base::format_count(one.lines) + (one.lines == 1 ? " line" : " lines") + " of logs";
  if (one.busy > 0) text += ", " + base::format_count(one.busy) + " copied by another command";
  return text;
}

/// The outputs of those that have ended, from the targets that answered.
void collect_ended(const Context& context, const archive::Store& store, const std::vector<std::string>& ids,
                   const std::vector<engine::TargetSync>& results) {
  for (const std::string& id : ids) {
    const format::RunPaths run = store.run(id);
    const auto plan = format::read_plan(run.plan());
    const auto state = format::fold_run(run);
    if (!plan || !state || !format::is_terminal(state->state)) continue;
    const bool answered = std::any_of(results.begin(), results.end(), [&](const engine::TargetSync& one) {
      return one.target == format::target_name(*plan) && !one.problem;
    });
    if (answered) collect_home(context, run);
  }
}

int sync_action(Context& context, const SyncArguments& arguments) {
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  if (auto writable = store->check_writable(); !writable) return report(context, writable.error());
  const auto timeout = base::parse_duration(arguments.timeout);
  if (!timeout) return report(context, Error(timeout.error()).with_context("read --timeout"));
  const auto ids = wanted_runs(*store, arguments);
  if (!ids) return report(context, ids.error());
  const auto results =
      refresh_runs(context, *store, *ids, *timeout, arguments.logs ? target::Until::current : target::Until::state);
  int code = 0;
  Json items = Json::array();
  for (const engine::TargetSync& one : results) {
    if (one.problem && code == 0) code = base::exit_code_for(one.problem->code);
    items.push_back(to_json(one));
    if (!context.json && !one.problem) context.out.line(text_of(one));
  }
  if (!arguments.no_collect) collect_ended(context, *store, *ids, results);
  if (context.json) context.print({{"items", std::move(items)}});
  if (results.empty()) context.note("nothing is outstanding on other targets");
  return code;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<SyncArguments>();
  app.add_option("run", arguments->runs, "The runs; all that something is outstanding of when left out")
      ->type_name("RUN");
  app.add_option("--timeout", arguments->timeout, "At most this long for a target (60s)")->type_name("TIME");
  app.add_flag("--logs", arguments->logs, "Also the logs of runs that go on; those of ended ones come anyway");
  app.add_flag("--no-collect", arguments->no_collect, "Leave the outputs of runs that have ended where they are");
  return [arguments](Context& context) { return sync_action(context, *arguments); };
}

}  // namespace

Command sync_command() {
  return {"sync",
          "Looking",
          "Bring what is here of runs on other targets up to date: states, metrics, logs, outputs",
          false,
          configure,
          Completes::run,
          "States and metrics always come, logs and outputs of ended runs too; logs of those that go on with --logs.\n"
          "All targets are asked at once, none for longer than --timeout; exit code 75 when one could not be reached.\n"
          "Whoever follows a run (attach, logs --follow, wait) gets its states, metrics and logs all the time."};
}

}  // namespace trainctl::cli
