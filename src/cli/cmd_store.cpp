// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/text.hpp"
#include "cli/commands.hpp"
#include "cli/index_view.hpp"
#include "cli/store_check.hpp"
#include "index/index.hpp"

namespace trainctl::cli {
namespace {

int path(Context& context, const archive::Store& store) {
  const std::string root = store.paths().root.string();
  if (context.json) {
    context.print({{"path", root}});
  } else {
    context.out.line(root);
  }
  return 0;
}

int check(Context& context, const archive::Store& store) {
  const auto checked = [&]() -> Result<StoreCheck> {
    IndexProgress progress(context);
    return check_store(store, progress.callback());
  }();
  if (!checked) return report(context, checked.error());
  const bool good = checked->findings.empty();
  if (context.json) {
    Json items = Json::array();
    for (const auto& finding : checked->findings) {
      items.push_back({{"where", finding.where}, {"message", finding.message}, {"hint", finding.hint}});
    }
    context.print({{"items", items},
                   {"next", nullptr},
                   {"whole", good},
                   {"runs", checked->runs},
                   {"names", checked->names},
                   {"snapshots", checked->snapshots}});
    return good ? 0 : exit_code_for(Errc::store);
  }
  for (const auto& finding : checked->findings) {
    context.out.line(context.out.paint(Style::red, context.out.utf8() ? "✗" : "!") + " " + printable(finding.where) +
                     ": " + printable(finding.message));
    if (!finding.hint.empty()) context.out.line("  " + context.out.paint(Style::dim, printable(finding.hint)));
  }
  const std::string counts = base::format_count(checked->runs) + " runs, " + base::format_count(checked->names) +
                             " names, " + base::format_count(checked->snapshots) + " snapshots and the index";
  if (good) {
    context.out.line(context.out.paint(Style::green, context.out.utf8() ? "✓" : "ok") + " " + counts + " are whole");
    return 0;
  }
  context.note(base::format_count(checked->findings.size()) + " found in " + counts);
  return exit_code_for(Errc::store);
}

int rebuild(Context& context, const archive::Store& store) {
  const std::uint64_t began = base::mono_ns();
  const auto rebuilt = [&]() -> Result<index::Refreshed> {
    TRY_ASSIGN(const auto index, index::Index::open(store, index::Mode::exclusive));
    IndexProgress progress(context);
    return index->rebuild(progress.callback());
  }();
  if (!rebuilt) return report(context, rebuilt.error());
  const auto took = std::chrono::milliseconds((base::mono_ns() - began) / 1'000'000U);
  if (context.json) {
    context.print({{"runs", rebuilt->added}, {"milliseconds", took.count()}});
  } else {
    context.note("the index has " + base::format_count(rebuilt->added) + " runs, made in " +
                 base::format_duration(took));
  }
  return 0;
}

int store_action(Context& context, const std::string& sub) {
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  if (sub == "check") return check(context, *store);
  if (sub == "rebuild") return rebuild(context, *store);
  return path(context, *store);
}

Action configure(Options& app) {
  const auto sub = std::make_shared<std::string>();
  app.add_subcommand("check", "Read everything and say what is damaged (exit code 6)", *sub);
  app.add_subcommand("rebuild", "Make the index anew from the run folders", *sub);
  app.add_subcommand("path", "Print where the store is", *sub);
  return [sub](Context& context) { return store_action(context, *sub); };
}

}  // namespace

Command store_command() {
  return {"store", "Keeping", "Check the store, rebuild its index, print its path", false, configure};
}

}  // namespace trainctl::cli
