// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/exit_code.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/index_view.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "cli/store_check.hpp"
#include "format/plan.hpp"
#include "index/index.hpp"
#include "snapshot/maintenance.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

/// A snapshot of a run that is being made is not named yet.
constexpr std::chrono::hours kGrace{1};

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
    IndexProgress runs(context);
    IndexProgress blobs(context, "stored files");
    return check_store(store, {.runs = runs.callback(), .blobs = blobs.callback()});
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
                   {"snapshots", checked->snapshots},
                   {"blobs", checked->blobs}});
    return good ? 0 : base::exit_code_for(Errc::store);
  }
  for (const auto& finding : checked->findings) {
    context.out.line(context.out.paint(Style::red, context.out.utf8() ? "✗" : "!") + " " + printable(finding.where) +
                     ": " + printable(finding.message));
    if (!finding.hint.empty()) context.out.line("  " + context.out.paint(Style::dim, printable(finding.hint)));
  }
  const std::string counts = base::format_count(checked->runs) + " runs, " + base::format_count(checked->names) +
                             " names, " + base::format_count(checked->snapshots) + " snapshots (" +
                             base::format_count(checked->blobs) + " files, " + base::format_size(checked->blob_bytes) +
                             ") and the index";
  if (good) {
    context.out.line(context.out.paint(Style::green, context.out.utf8() ? "✓" : "ok") + " " + counts + " are whole");
    return 0;
  }
  context.note(base::format_count(checked->findings.size()) + " found in " + counts);
  return base::exit_code_for(Errc::store);
}

Result<snapshot::MendReport> mend_snapshots(const Context& context, const archive::Store& store) {
  if (!base::exists(store.paths().snapshots() / "format")) return snapshot::MendReport{};
  TRY_ASSIGN(const snapshot::Store opened, snapshot::Store::open(store.paths().root));
  IndexProgress progress(context, "packs");
  return snapshot::mend(
      opened, [&, tell = progress.callback()](std::uint64_t done, std::uint64_t total) { (void)tell(done, total); });
}

int rebuild(Context& context, const archive::Store& store) {
  if (auto writable = store.check_writable(); !writable) return report(context, writable.error());
  const std::uint64_t began = base::mono_ns();
  const auto rebuilt = [&]() -> Result<index::Refreshed> {
    TRY_ASSIGN(const auto index, index::Index::open(store, index::Mode::exclusive));
    IndexProgress progress(context);
    return index->rebuild(progress.callback());
  }();
  if (!rebuilt) return report(context, rebuilt.error());
  const auto mended = mend_snapshots(context, store);
  if (!mended) return report(context, mended.error());
  const auto took = std::chrono::milliseconds((base::mono_ns() - began) / 1'000'000U);
  if (context.json) {
    context.print({{"runs", rebuilt->added},
                   {"blobs", mended->blobs},
                   {"forgotten", {{"blobs", mended->damaged_blobs}, {"snapshots", mended->damaged_manifests}}},
                   {"milliseconds", took.count()}});
  } else {
    context.note("the index has " + base::format_count(rebuilt->added) + " runs, made in " +
                 base::format_duration(took));
    if (mended->damaged_blobs + mended->damaged_manifests > 0) {
      context.note("forgot what was damaged: " + base::format_count(mended->damaged_blobs) + " stored files, " +
                   base::format_count(mended->damaged_manifests) + " snapshots; the next run stores them anew");
    }
  }
  return 0;
}

/// The snapshots (and inputs, on a host) that runs name; a plan that cannot be read names none.
Result<std::set<std::string>> named_snapshots(const archive::Store& store) {
  std::set<std::string> digests;
  TRY_ASSIGN(const std::vector<std::string> ids, store.run_ids());
  for (const std::string& id : ids) {
    const auto plan = format::read_plan(store.run(id).plan());
    if (plan) digests.merge(format::needed_digests(*plan));
  }
  return digests;
}

int collect_garbage(Context& context, const archive::Store& store) {
  if (auto writable = store.check_writable(); !writable) return report(context, writable.error());
  const auto freed = [&]() -> Result<snapshot::GarbageReport> {
    TRY(store.sweep_removed());
    if (!base::exists(store.paths().snapshots() / "format")) return snapshot::GarbageReport{};
    TRY_ASSIGN(const snapshot::Store opened, snapshot::Store::open(store.paths().root));
    TRY_ASSIGN(const auto named, named_snapshots(store));
    return snapshot::collect_garbage(opened, named, kGrace);
  }();
  if (!freed) return report(context, freed.error());
  if (context.json) {
    context.print({{"snapshots", freed->manifests}, {"blobs", freed->blobs}, {"bytes", freed->bytes}});
  } else {
    context.note("removed " + base::format_count(freed->manifests) + " snapshots and " +
                 base::format_count(freed->blobs) + " stored files, " + base::format_size(freed->bytes));
  }
  return 0;
}

int store_action(Context& context, const std::string& sub) {
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  if (sub == "check") return check(context, *store);
  if (sub == "gc") return collect_garbage(context, *store);
  if (sub == "rebuild") return rebuild(context, *store);
  return path(context, *store);
}

Action configure(Options& app) {
  const auto sub = std::make_shared<std::string>();
  app.add_subcommand("check", "Read everything and say what is damaged (exit code 6)", *sub);
  app.add_subcommand("rebuild", "Make the indexes anew from what is there, forget what is damaged", *sub);
  app.add_subcommand("gc", "Remove snapshots that no run names and what interrupted commands left", *sub);
  app.add_subcommand("path", "Print where the store is", *sub);
  return [sub](Context& context) { return store_action(context, *sub); };
}

}  // namespace

Command store_command() {
  return {"store", "Keeping", "Check the store, rebuild its index, remove what is not needed", false, configure};
}

}  // namespace trainctl::cli
