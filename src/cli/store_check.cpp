// SPDX-License-Identifier: Apache-2.0
#include "cli/store_check.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "format/fold.hpp"
#include "format/output_list.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "index/index.hpp"
#include "snapshot/maintenance.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

class Checker {
 public:
  explicit Checker(const archive::Store& store) : store_(store) {}

  Result<> runs(const index::Progress& progress) {
    TRY_ASSIGN(const std::vector<std::string> ids, store_.run_ids());
    for (const std::string& id : ids) {
      if (progress) (void)progress(result.runs, ids.size());
      ++result.runs;
      run(store_.run(id));
    }
    return {};
  }

  Result<> names() {
    const auto& root = store_.paths().names();
    TRY_ASSIGN(const std::vector<std::string> bases, base::list_directory(root));
    for (const std::string& base : bases) {
      TRY_ASSIGN(const std::vector<std::string> numbers, base::list_directory(root / base));
      for (const std::string& number : numbers) {
        if (number.starts_with('.')) continue;
        ++result.names;
        name(std::string(base).append("-").append(number), root / base / number);
      }
    }
    return {};
  }

  Result<> snapshots(const index::Progress& progress) {
    if (!base::exists(store_.paths().snapshots() / "format")) return {};
    const auto opened = snapshot::Store::open(store_.paths().snapshots().parent_path());
    if (!opened) {
      add("snapshots", opened.error().message, opened.error().hint);
      return {};
    }
    const auto report = snapshot::check(*opened, [&](std::uint64_t done, std::uint64_t total) {
      if (progress) (void)progress(done, total);
    });
    if (!report) {
      add("snapshots", report.error().message, report.error().hint);
      return {};
    }
    result.snapshots = report->manifests;
    result.blobs = report->blobs;
    result.blob_bytes = report->bytes;
    for (const std::string& problem : report->problems)
      add("snapshots", problem, "trainctl store rebuild forgets it; runs that used it keep their own copy");
    return {};
  }

  StoreCheck result;

 private:
  void add(std::string where, std::string message, std::string hint) {
    result.findings.push_back({std::move(where), std::move(message), std::move(hint)});
  }

  void run(const format::RunPaths& paths) {
    const std::string remove = "trainctl rm " + paths.id() + " removes it";
    const auto plan = format::read_plan(paths.plan());
    if (!plan) {
      const bool missing = plan.error().code == Errc::not_found;
      add("run " + paths.id(),
          missing ? "has no plan.json: it was interrupted while it was made" : plan.error().message, remove);
      return;
    }
    if (plan->id != paths.id())
      add("run " + paths.id(), "its plan is of run " + plan->id, "the folder was copied or renamed; " + remove);
    const auto state = format::fold_run(paths);
    if (!state) {
      add("run " + plan->name, state.error().message, remove);
    } else if (state->end.is_object()) {
      logs(paths.attempt(state->attempt), plan->name, state->end);
      outputs(paths.attempt(state->attempt), plan->name);
    }
  }

  /// Not shorter than when the run ended.
  void logs(const format::AttemptPaths& attempt, const std::string& name, const Json& end) {
    const auto sizes = end.find("logs");
    if (sizes == end.end() || !sizes->is_object()) return;
    for (const auto& [file, recorded] : sizes->items()) {
      if (!recorded.is_number_unsigned() || file.find('/') != std::string::npos) continue;
      if (base::exists(attempt.logs() / (file + ".2")))
        continue;  // a copy that its source cut: the size is of its last part
      const auto size = base::file_size(attempt.logs() / file);
      const auto wanted = recorded.get<std::uint64_t>();
      if (size.value_or(0) >= wanted) continue;
      add("run " + name,
          "its log " + file +
              (size ? " has " + std::to_string(*size) + " of " + std::to_string(wanted) + " bytes" : " is gone"),
          "it was cut or removed after the end, or the machine lost power; nothing brings it back");
    }
  }

  /// What the end listed, by presence and size.
  void outputs(const format::AttemptPaths& attempt, const std::string& name) {
    const auto entries = format::read_output_list(attempt.output_list());
    if (!entries) return add("run " + name, entries.error().message, "");
    if (!*entries) return;
    std::size_t gone = 0;
    std::size_t changed = 0;
    for (const format::OutputEntry& entry : **entries) {
      const auto path = attempt.outputs() / entry.path;
      if (!base::exists(path)) {
        ++gone;
      } else if (entry.sha256 && base::file_size(path) != entry.size) {
        ++changed;
      }
    }
    const std::string all = " of " + std::to_string((*entries)->size()) + " outputs ";
    if (gone > 0)
      add("run " + name, std::to_string(gone) + all + "are gone", "trainctl outputs " + name + " lists the others");
    if (changed > 0) {
      add("run " + name, std::to_string(changed) + all + "have another size than at the end",
          "trainctl outputs " + name + " --json marks them");
    }
  }

  void name(const std::string& name, const std::filesystem::path& file) {
    const auto text = base::read_file_if_exists(file, 256);
    const std::string id = text && *text ? std::string(base::trim(**text)) : std::string();
    if (!base::is_ulid(id)) {
      add("name " + name, "does not hold a run's id", "the run is still found by its id; the name is not given again");
      return;
    }
    // A name outlives its run: it is never given twice. Only a run that calls itself otherwise is wrong.
    const auto plan = format::read_plan(store_.run(id).plan());
    if (plan && plan->name != name)
      add("name " + name, "points to run " + id + ", which is " + plan->name, "name it by its id");
  }

  const archive::Store& store_;
};

}  // namespace

Result<StoreCheck> check_store(const archive::Store& store, const StoreCheckProgress& progress) {
  Checker checker(store);
  TRY(checker.runs(progress.runs));
  TRY(checker.names());
  TRY(checker.snapshots(progress.blobs));
  TRY_ASSIGN(const auto index, index::Index::open(store, index::Mode::read));
  // Runs that came since the last listing are no damage.
  TRY(index->refresh(std::chrono::seconds(10), progress.runs));
  TRY_ASSIGN(std::vector<index::Finding> findings, index->check());
  for (index::Finding& finding : findings) checker.result.findings.push_back(std::move(finding));
  return std::move(checker.result);
}

}  // namespace trainctl::cli
