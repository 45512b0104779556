// SPDX-License-Identifier: Apache-2.0
#include "cli/index_view.hpp"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/contact_view.hpp"
#include "cli/output.hpp"
#include "cli/run_metrics.hpp"
#include "cli/time_text.hpp"
#include "engine/collect.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "index/index.hpp"
#include "index/query.hpp"

namespace trainctl::cli {
namespace {

constexpr std::uint64_t kQuietNs = 500'000'000;
constexpr std::uint64_t kRedrawNs = 100'000'000;

Json text_or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json time_or_null(const std::optional<base::WallTime>& time) {
  return time ? Json(base::format_utc(*time)) : Json(nullptr);
}

}  // namespace

IndexProgress::IndexProgress(const Context& context, std::string things)
    : context_(context), things_(std::move(things)), began_ns_(base::mono_ns()) {}

IndexProgress::~IndexProgress() {
  if (drawn_ns_ == 0 || !context_.err.is_terminal()) return;
  context_.err.write("\r\x1b[K");
  context_.err.flush();
}

index::Progress IndexProgress::callback() {
  return [this](std::uint64_t done, std::uint64_t total) {
    const std::uint64_t now = base::mono_ns();
    if (context_.quiet || now - began_ns_ < kQuietNs || now - drawn_ns_ < kRedrawNs) return true;
    const std::string text =
        "reading " + things_ + ": " + base::format_count(done) + " of " + base::format_count(total);
    if (context_.err.is_terminal()) {
      context_.err.write("\r" + context_.err.paint(Style::dim, text) + "\x1b[K");
      context_.err.flush();
    } else if (drawn_ns_ == 0) {
      context_.note("reading " + base::format_count(total) + " " + things_);
      context_.err.flush();
    }
    drawn_ns_ = now;
    return true;
  };
}

void note_read_only(const Context& context, const archive::Store& store, format::State state) {
  if (format::is_terminal(state)) return;
  if (const auto writable = store.check_writable(); !writable)
    context.note(context.err.paint(Style::dim, "note: " + writable.error().message + "; shown as it is"));
}

std::string as_of_text(const index::Refreshed& refreshed) {
  if (!refreshed.not_kept.empty()) return "note: " + refreshed.not_kept + "; the list was made in memory";
  if (refreshed.complete) return {};
  const bool ever = refreshed.as_of > base::WallTime{};
  std::string text =
      ever ? "as of " + relative_text(refreshed.as_of, base::wall_now()) : "not all runs have been read yet";
  if (refreshed.held_by) text += ": process " + std::to_string(*refreshed.held_by) + " is updating the index";
  return text;
}

/// What this store has of the outputs of a run elsewhere.
static void add_outputs(const format::RunPaths& run, Json& json) {
  const auto plan = format::read_plan(run.plan());
  const auto state = format::fold_run(run);
  if (plan && state) json["outputs"] = engine::to_string(engine::outputs_record(run, *plan, *state).state);
}

Json row_to_json(const archive::Store& store, const index::RunRow& row) {
  Json metrics = Json::object();
  for (const index::RowMetric& metric : row.metrics) {
    metrics[metric.name] = {{"last", number_or_text(metric.last)},
                            {"best", number_or_text(metric.best)},
                            {"step", metric.step ? Json(*metric.step) : Json(nullptr)}};
  }
  Json json = {{"id", row.id},
               {"name", row.name},
               {"state", format::to_string(row.state)},
               {"cause", row.cause ? Json(format::to_string(*row.cause)) : Json(nullptr)},
               {"exit_code", row.exit_code ? Json(*row.exit_code) : Json(nullptr)},
               {"message", text_or_null(row.message)},
               {"target", row.target},
               {"experiment", text_or_null(row.experiment)},
               {"created", base::format_utc(row.created)},
               {"started", time_or_null(row.started)},
               {"ended", time_or_null(row.ended)},
               {"seconds", row.took ? Json(static_cast<double>(row.took->count()) / 1e6) : Json(nullptr)},
               {"attempts", row.attempts},
               {"parameters", row.parameters},
               {"metrics", metrics},
               {"tags", row.tags},
               {"directory", store.run(row.id).root.string()}};
  if (Json contact = contact_json(store.run(row.id), row.state); !contact.is_null())
    json["contact"] = std::move(contact);
  if (row.target != "local") add_outputs(store.run(row.id), json);
  return json;
}

}  // namespace trainctl::cli
