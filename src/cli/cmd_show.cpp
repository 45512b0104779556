// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/contact_view.hpp"
#include "cli/index_view.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "cli/run_metrics.hpp"
#include "cli/run_summary.hpp"
#include "cli/time_text.hpp"
#include "cli/transfer.hpp"
#include "engine/collect.hpp"
#include "engine/supervision.hpp"
#include "format/fold.hpp"
#include "format/metric_summary.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/plan_target.hpp"
#include "format/state.hpp"

namespace trainctl::cli {
namespace {

struct ShowArguments {
  std::string run = "@";
  bool plan = false;
  bool events = false;
};

constexpr std::size_t kLabel = 14;
constexpr std::size_t kTextColumns = 100;

class Sheet {
 public:
  explicit Sheet(Context& context) : context_(context) {}
  void row(std::string_view label, const std::string& value) {
    if (value.empty()) return;
    context_.out.line(
        context_.out.paint(Style::dim, std::string(label) + std::string(kLabel - std::min(kLabel, label.size()), ' ')) +
        value);
  }

 private:
  Context& context_;
};

std::string scalar_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : base::dump_json(value);
}

std::string pairs_text(const Json& object) {
  std::string text;
  for (const auto& item : object.items())
    text += (text.empty() ? "" : "  ") + printable(item.key() + "=" + scalar_text(item.value()));
  return text;
}

std::string command_text(const format::Plan& plan) {
  std::string text;
  if (plan.command.kind == format::CommandKind::python_script) text = "python";
  if (plan.command.kind == format::CommandKind::python_module) text = "python -m";
  if (plan.command.kind == format::CommandKind::shell) text = plan.command.shell + " -c";
  for (const std::string& word : plan.command.argv)
    text += (text.empty() ? "" : " ") + printable(base::shell_quote(word));
  return text;
}

std::string source_text(const format::Plan& plan) {
  const std::string kind = plan.source.value("kind", "none");
  std::string text;
  if (kind == "in_place") text = "in place: " + plan.source.value("directory", "");
  if (kind == "snapshot") {
    text = "snapshot " + plan.source.value("digest", "").substr(0, 12) + " · " +
           base::format_count(plan.source.value("files", std::uint64_t{0})) +
           (plan.source.value("files", std::uint64_t{0}) == 1 ? " file, " : " files, ") +
           base::format_size(plan.source.value("bytes", std::uint64_t{0}));
  }
  const auto git = plan.source.find("git");
  if (git != plan.source.end() && git->is_object()) {
    const std::string commit = git->value("commit", "").substr(0, 7);
    text += " · git " + (commit.empty() ? "without a commit" : commit);
    const auto changed = git->value("changed", 0) + git->value("untracked", 0);
    if (changed > 0) text += " + " + std::to_string(changed) + (changed == 1 ? " changed file" : " changed files");
  }
  return printable(text);
}

void show_times(Context& context, Sheet& sheet, const format::Plan& plan, const format::RunState& state) {
  sheet.row("created", time_text(context, plan.created));
  const auto from = base::parse_utc(state.started);
  if (!from) return;
  std::string took;
  if (state.took) {
    took = base::format_duration(std::chrono::duration_cast<std::chrono::milliseconds>(*state.took));
  } else if (state.ended.empty()) {
    took = running_text(base::parse_utc(plan.created), *from, base::wall_now());
  } else if (const auto to = base::parse_utc(state.ended)) {
    took = span_text(*from, *to);
  }
  sheet.row("started", time_text(context, *from) + (took.empty() ? "" : "  for " + took));
  sheet.row("ended", state.ended.empty() ? "" : time_text(context, state.ended));
}

/// "3: failed (exit 1), lost, running"
std::string attempts_text(const format::RunLines& lines) {
  std::string text;
  int ended = 0;
  for (const auto* list : {&lines.earlier_events, &lines.events}) {
    for (const Json& event : *list) {
      if (event.value("type", "") != "end") continue;
      ++ended;
      text += (text.empty() ? "" : ", ") + event.value("state", "");
      const auto code = event.find("exit_code");
      if (code != event.end() && code->is_number_integer() && *code != 0)
        text += " (exit " + base::dump_json(*code) + ")";
    }
  }
  if (ended < lines.attempt) text += (text.empty() ? "" : ", ") + std::string("now running");
  return std::to_string(lines.attempt) + ": " + printable(text);
}

/// "n1 · Slurm job 4711 on n[1-2]"
std::string place_text(const format::RunState& state) {
  const Json place = place_to_json(state);
  if (place.is_null()) return {};
  std::string text = scalar_text(place["host"]);
  const auto slurm = place.find("slurm");
  if (slurm == place.end()) return printable(text);
  text += " · Slurm job " + scalar_text((*slurm)["job"]);
  const Json& nodes = (*slurm)["nodes"];
  if (nodes.is_string() && nodes != place["host"]) text += " on " + scalar_text(nodes);
  return printable(text);
}

std::string_view first_line(std::string_view text) {
  return text.substr(0, text.find('\n'));
}

/// The last value of each metric, and the texts.
void show_recorded(Sheet& sheet, const MetricReader& recorded) {
  std::string metrics;
  for (const auto& [name, value] : recorded.metrics()) {
    if (!name.starts_with("system/"))
      metrics += (metrics.empty() ? "" : "  ") + printable(name) + "=" + base::format_number(value.last);
  }
  sheet.row("metrics", metrics);
  for (const format::LoggedText& text : recorded.all().texts) {
    const std::string where = text.step ? " (step " + std::to_string(*text.step) + ")" : "";
    sheet.row("text", printable(text.name) + where + ": " + fit(printable(first_line(text.text)), kTextColumns));
  }
}

void show_sheet(Context& context, const format::RunPaths& run, const format::Plan& plan, const format::RunLines& lines,
                const format::RunState& state) {
  Sheet sheet(context);
  context.out.line(state_mark(context.out, state.state) + " " + context.out.paint(Style::bold, plan.name) + "  " +
                   std::string(format::to_string(state.state)) +
                   (state.cause && *state.cause != format::Cause::exit && state.state != format::State::succeeded
                        ? " (" + std::string(format::to_string(*state.cause)) + ")"
                        : ""));
  sheet.row("why", printable(state.message));
  sheet.row("id", plan.id);
  sheet.row("experiment", printable(plan.experiment));
  show_times(context, sheet, plan, state);
  sheet.row("attempts", state.attempt > 1 ? attempts_text(lines) : "");
  sheet.row("exit code", state.exit_code ? std::to_string(*state.exit_code) : "");
  sheet.row("signal", state.signal);
  sheet.row("command", command_text(plan));
  const std::string contact = contact_text(run, state.state, base::wall_now());
  sheet.row("target", printable(format::target_name(plan)) + (contact.empty() ? "" : "  (" + contact + ")"));
  if (plan.target.value("type", "local") != "local") sheet.row("ran on", place_text(state));
  if (plan.estimator.is_object())
    sheet.row("estimator", plan.estimator.value("framework", "") + " " + plan.estimator.value("version", ""));
  sheet.row("source", source_text(plan));
  sheet.row("environment", plan.environment.is_object()
                               ? printable(plan.who.value("environment", plan.environment.value("kind", "")))
                               : "");
  const MetricReader recorded = run_metrics(run, state.attempt);
  sheet.row("parameters", pairs_text(format::with_logged(plan.parameters, recorded.all().parameters)));
  sheet.row("tags", pairs_text(format::with_logged(plan.tags, recorded.all().tags)));
  sheet.row("by", printable(plan.who.value("user", "") + "@" + plan.who.value("host", "")));
  show_recorded(sheet, recorded);
  for (const std::string& warning : state.warnings) sheet.row("warning", printable(warning));
  if (plan.target.value("type", "local") != "local")
    sheet.row("outputs", printable(outputs_sentence(engine::outputs_record(run, plan, state))));
  sheet.row("folder", run.root.string());
}

int show_action(Context& context, const ShowArguments& arguments) {
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  const auto id = store->resolve(arguments.run);
  if (!id) return report(context, id.error());
  const format::RunPaths run = store->run(*id);
  const auto plan = format::read_plan(run.plan());
  if (!plan) return report(context, plan.error());
  if (auto supervised = engine::ensure_supervised(run, engine::Start::adopt_only); !supervised)
    context.warn(supervised.error().message);
  const auto lines = format::read_run_lines(run);
  if (!lines) return report(context, lines.error());
  const format::RunState state = format::fold(*lines);
  note_read_only(context, *store, state.state);
  if (arguments.plan) {
    context.out.write(base::pretty_json(format::to_json(*plan)));
  } else if (arguments.events) {
    for (const auto* list : {&lines->earlier_events, &lines->events}) {
      for (const Json& event : *list) context.out.line(base::dump_json(event));
    }
  } else if (context.json) {
    context.print(run_to_json(run, *plan, state));
  } else {
    format::Plan shown = *plan;
    format::resolve_store_mark(shown, "STORE");  // of the host; where that lies is not known here
    show_sheet(context, run, shown, *lines, state);
  }
  return 0;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<ShowArguments>();
  app.add_option("run", arguments->run, "The run; your last one when left out")->type_name("RUN");
  app.add_flag("--plan", arguments->plan, "Print the whole recorded plan as JSON");
  app.add_flag("--events", arguments->events, "Print the run's events, one a line");
  return [arguments](Context& context) { return show_action(context, *arguments); };
}

}  // namespace

Command show_command() {
  return {"show", "Looking", "Show one run: what it did, with which code and environment, how it ended",
          true,   configure, Completes::run};
}

}  // namespace trainctl::cli
