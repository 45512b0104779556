// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>

#include "archive/store.hpp"
#include "cli/attach.hpp"
#include "cli/away.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "engine/supervision.hpp"

namespace trainctl::cli {
namespace {

struct AttachArguments {
  std::string run = "@";
  int rank = 0;
  bool no_collect = false;
};

int attach_action(Context& context, const AttachArguments& arguments) {
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  const auto id = store->resolve(arguments.run);
  if (!id) return report(context, id.error());
  if (auto supervised = engine::ensure_supervised(store->run(*id), engine::Start::allowed); !supervised) {
    return report(context, supervised.error());
  }
  tell_what_was_missed(context, store->run(*id));
  return attach(context, *store, *id, {.may_start = true, .collect = !arguments.no_collect, .rank = arguments.rank});
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<AttachArguments>();
  app.add_option("run", arguments->run, "The run; your last one when left out")->type_name("RUN");
  app.add_option("--rank", arguments->rank, "Show this rank's log")->type_name("N")->non_negative();
  app.add_flag("--no-collect", arguments->no_collect, "Do not wait for the outputs of a run elsewhere");
  return [arguments](Context& context) { return attach_action(context, *arguments); };
}

}  // namespace

Command attach_command() {
  return {"attach",
          "Running",
          "Follow a run: the log of its last attempt from the start, then live, to its end",
          true,
          configure,
          Completes::run,
          "Leaving (Ctrl-C, then d) does not stop the run; attach again at any time, from any terminal."};
}

}  // namespace trainctl::cli
