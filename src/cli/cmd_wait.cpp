// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/text.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "cli/run_summary.hpp"
#include "cli/transfer.hpp"
#include "cli/wait.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"

namespace trainctl::cli {
namespace {

struct WaitArguments {
  std::vector<std::string> runs;
  std::string timeout;
  bool no_collect = false;
};

int wait_action(Context& context, const WaitArguments& arguments) {
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  std::optional<std::chrono::milliseconds> timeout;
  if (!arguments.timeout.empty()) {
    auto parsed = base::parse_duration(arguments.timeout);
    if (!parsed) return report(context, std::move(parsed).error().with_context("read --timeout"));
    timeout = *parsed;
  }
  const auto ids = store->resolve_all(arguments.runs.empty() ? std::vector<std::string>{"@"} : arguments.runs);
  if (!ids) return report(context, ids.error());
  std::vector<format::RunPaths> runs;
  runs.reserve(ids->size());
  for (const std::string& id : *ids) runs.push_back(store->run(id));
  auto waiting = WaitForEnds::begin(runs);
  if (!waiting) return report(context, waiting.error());
  const std::uint64_t began = base::mono_ns();
  int worst = 0;
  for (const format::RunPaths& run : runs) {
    std::optional<std::chrono::milliseconds> left;
    if (timeout) left = *timeout - std::chrono::milliseconds((base::mono_ns() - began) / 1'000'000U);
    const auto state = waiting->end_of(run, left);
    if (!state) return report(context, state.error());
    if (!arguments.no_collect) collect_home(context, run);
    print_summary(context, run, *state);
    if (worst == 0) worst = format::exit_code_of(state->state, state->cause);
  }
  return worst;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<WaitArguments>();
  app.add_option("run", arguments->runs, "The runs; your last one when left out")->type_name("RUN");
  app.add_option("--timeout", arguments->timeout, "Give up after this long (exit code 8), e.g. 30m")->type_name("TIME");
  app.add_flag("--no-collect", arguments->no_collect, "Do not wait for the outputs of runs elsewhere");
  return [arguments](Context& context) { return wait_action(context, *arguments); };
}

}  // namespace

Command wait_command() {
  return {"wait", "Running", "Wait until runs have ended; the exit code is the first failure's",
          false,  configure, Completes::run};
}

}  // namespace trainctl::cli
