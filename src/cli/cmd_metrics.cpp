// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/metric_table.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "cli/plot.hpp"
#include "cli/run_metrics.hpp"
#include "cli/run_table.hpp"
#include "format/fold.hpp"
#include "format/goal.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "index/series.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

constexpr std::size_t kPlotPoints = 4'096;
constexpr int kPlotHeight = 16;

struct MetricsArguments {
  std::vector<std::string> words, names;
  bool log = false, system = false, csv = false;
  std::string x = "step";
  std::optional<int> width, height, attempt;
  std::optional<std::uint64_t> points;
};

struct RunSeries {
  std::string id, name, primary, goal;
  std::vector<index::Series> series;
};

Result<RunSeries> read_run(const archive::Store& store, const std::string& id, const MetricsArguments& arguments,
                           std::size_t most) {
  const format::RunPaths run = store.run(id);
  TRY_ASSIGN(const format::Plan plan, format::read_plan(run.plan()));
  RunSeries read{id, plan.name, plan.metrics.primary, plan.metrics.goal, {}};
  const int attempts = format::last_attempt(run);
  const int attempt = arguments.attempt.value_or(attempts);
  if (attempt == 0) return read;
  if (attempt < 0 || attempt > attempts) {
    return fail(Errc::not_found, plan.name + " has " + std::to_string(attempts) + " attempts, none is number " +
                                     std::to_string(attempt));
  }
  // All names: which of them are wanted is only known when a word may also be a run.
  TRY_ASSIGN(read.series, index::read_series(run.attempt(attempt), {.names = {}, .system = true, .most_points = most}));
  return read;
}

bool has_metric(const RunSeries& run, const std::string& name) {
  return std::any_of(run.series.begin(), run.series.end(), [&](const index::Series& s) { return s.name == name; });
}

/// `metrics RUN NAME…`, `metrics RUN RUN --name NAME`: a word is a name when the first run has such a metric, else a
/// run.
Result<std::vector<RunSeries>> read_words(const archive::Store& store, const MetricsArguments& arguments,
                                          std::size_t most, std::vector<std::string>& names) {
  std::vector<RunSeries> runs;
  for (const std::string& word : arguments.words) {
    if (!runs.empty() && has_metric(runs.front(), word)) {
      names.push_back(word);
      continue;
    }
    auto id = store.resolve(word);
    if (!id && runs.empty()) {
      // `metrics loss`: of the last run.
      const auto last = store.resolve("@");
      auto run = last ? read_run(store, *last, arguments, most) : Result<RunSeries>(fail(Errc::not_found, ""));
      if (run && has_metric(*run, word)) {
        names.push_back(word);
        runs.push_back(std::move(*run));
        continue;
      }
    }
    if (!id) {
      Error error = std::move(id).error();
      if (!runs.empty()) {
        error.message += ", and " + runs.front().name + " has no metric of that name";
        std::vector<std::string_view> candidates;
        for (const index::Series& series : runs.front().series) candidates.push_back(series.name);
        if (const auto near = base::suggest(word, candidates)) error.hint = "did you mean " + *near + "?";
      }
      return fail(std::move(error));
    }
    TRY_ASSIGN(RunSeries run, read_run(store, *id, arguments, most));
    runs.push_back(std::move(run));
  }
  if (runs.empty()) {
    TRY_ASSIGN(const std::string id, store.resolve("@"));
    TRY_ASSIGN(RunSeries run, read_run(store, id, arguments, most));
    runs.push_back(std::move(run));
  }
  return runs;
}

/// Leaves the series that are wanted; a name that no run has is an error with the nearest one.
Result<> choose(std::vector<RunSeries>& runs, const std::vector<std::string>& names, bool system) {
  std::set<std::string> known;
  for (const RunSeries& run : runs) {
    for (const index::Series& series : run.series) known.insert(series.name);
  }
  for (const std::string& name : names) {
    if (known.contains(name)) continue;
    const std::vector<std::string_view> candidates(known.begin(), known.end());
    const auto near = base::suggest(name, candidates);
    return fail(Errc::not_found, "no metric \"" + name + "\"",
                near ? "did you mean " + *near + "?" : "trainctl metrics RUN lists them");
  }
  for (RunSeries& run : runs) {
    std::erase_if(run.series, [&](const index::Series& series) {
      if (!names.empty()) return std::find(names.begin(), names.end(), series.name) == names.end();
      return !system && series.name.starts_with("system/");
    });
  }
  return {};
}

double best_of(const RunSeries& run, const index::Series& series) {
  const std::string_view goal = format::goal_of(series.name, run.primary, run.goal);
  if (goal == "minimize") return series.lowest.value;
  return goal == "maximize" ? series.highest.value : series.last.value;
}

Json to_json(const std::vector<RunSeries>& runs) {
  Json items = Json::array();
  for (const RunSeries& run : runs) {
    for (const index::Series& series : run.series) {
      Json points = Json::array();
      for (const index::SeriesPoint& point : series.points) {
        points.push_back({{"t", point.time},
                          {"step", point.step ? Json(*point.step) : Json(nullptr)},
                          {"value", number_or_text(point.value)}});
      }
      items.push_back({{"run", run.id},
                       {"run_name", run.name},
                       {"name", series.name},
                       {"source", series.source},
                       {"rank", series.rank},
                       {"last", number_or_text(series.last.value)},
                       {"best", number_or_text(best_of(run, series))},
                       {"step", series.last.step ? Json(*series.last.step) : Json(nullptr)},
                       {"count", series.count},
                       {"points", std::move(points)}});
    }
  }
  return {{"items", std::move(items)}, {"next", nullptr}};
}

std::string to_csv(const std::vector<RunSeries>& runs) {
  std::string text = "run,name,source,rank,step,t,value\r\n";
  for (const RunSeries& run : runs) {
    for (const index::Series& series : run.series) {
      const std::string head =
          run.name + "," + csv_field(series.name) + "," + series.source + "," + std::to_string(series.rank) + ",";
      for (const index::SeriesPoint& point : series.points) {
        text += head + (point.step ? std::to_string(*point.step) : "") + "," + exact_number(point.time) + "," +
                exact_number(point.value) + "\r\n";
      }
    }
  }
  return text;
}

std::vector<MetricRow> table_rows(const RunSeries& run) {
  std::set<std::string> several;  // names that more than one rank or source logged
  for (std::size_t i = 1; i < run.series.size(); ++i) {
    if (run.series[i].name == run.series[i - 1].name) several.insert(run.series[i].name);
  }
  std::vector<MetricRow> rows;
  for (const index::Series& series : run.series) {
    MetricRow row;
    row.name = printable(series.name);
    if (several.contains(series.name)) row.name += " [" + series.source + " " + std::to_string(series.rank) + "]";
    row.points = series.count;
    row.last = series.last.value;
    row.step = series.last.step;
    row.lowest = series.lowest.value;
    row.highest = series.highest.value;
    const Goal goal = parse_goal(format::goal_of(series.name, run.primary, run.goal));
    if (goal == Goal::minimize) row.best_step = series.lowest.step;
    if (goal == Goal::maximize) row.best_step = series.highest.step;
    row.curve.reserve(series.points.size());
    for (const auto& point : series.points) row.curve.push_back(point.value);
    rows.push_back(std::move(row));
  }
  return rows;
}

PlotSeries plot_series(const index::Series& series, std::string name, bool by_time) {
  PlotSeries line{std::move(name), {}};
  const double began = series.points.empty() ? 0 : series.points.front().time;
  for (std::size_t i = 0; i < series.points.size(); ++i) {
    const index::SeriesPoint& point = series.points[i];
    const double step = point.step ? static_cast<double>(*point.step) : static_cast<double>(i);
    line.points.push_back({by_time ? point.time - began : step, point.value});
  }
  std::stable_sort(line.points.begin(), line.points.end(),
                   [](const PlotPoint& a, const PlotPoint& b) { return a.x < b.x; });
  return line;
}

/// What is drawn when no name was given: the primary metric, else the first one with a goal, else the first.
std::string plotted_name(const RunSeries& run) {
  if (has_metric(run, run.primary)) return run.primary;
  for (const index::Series& series : run.series) {
    if (guess_goal(series.name) != Goal::none) return series.name;
  }
  return run.series.empty() ? std::string() : run.series.front().name;
}

std::string plot_text(const Context& context, const std::vector<RunSeries>& runs, const std::vector<std::string>& names,
                      const MetricsArguments& arguments) {
  std::vector<std::string> drawn = names;
  for (const RunSeries& run : runs) {
    if (drawn.empty() && !run.series.empty()) drawn.push_back(plotted_name(run));
  }
  std::vector<PlotSeries> lines;
  for (const RunSeries& run : runs) {
    for (const index::Series& series : run.series) {
      if (std::find(drawn.begin(), drawn.end(), series.name) == drawn.end()) continue;
      std::string name = (runs.size() > 1 ? run.name + " " : std::string()) + printable(series.name);
      if (series.rank > 0) name += " rank " + std::to_string(series.rank);
      lines.push_back(plot_series(series, std::move(name), arguments.x == "time"));
    }
  }
  if (lines.empty()) return {};
  PlotOptions options;
  options.width = arguments.width.value_or(context.out.width());
  options.height = arguments.height.value_or(kPlotHeight);
  options.log_y = arguments.log;
  options.time_x = arguments.x == "time";
  options.x_label = arguments.x;
  options.colors = context.out.colors();
  options.utf8 = context.out.utf8();
  return plot(lines, options);
}

void print_tables(Context& context, const std::vector<RunSeries>& runs) {
  for (const RunSeries& run : runs) {
    if (runs.size() > 1) context.out.line(context.out.paint(Style::bold, printable(run.name)));
    if (run.series.empty()) {
      context.note(run.name + " has no metrics" +
                   (runs.size() == 1 ? ". Log some: import trainctl; trainctl.log(loss=0.3, step=1)" : ""));
      continue;
    }
    MetricTableOptions options;
    options.primary = run.primary;
    options.goal = parse_goal(run.goal);
    options.width = context.out.is_terminal() ? context.out.width() : 1'000;
    options.colors = context.out.colors();
    options.utf8 = context.out.utf8();
    context.out.write(metric_table(table_rows(run), options));
  }
}

int metrics_action(Context& context, const MetricsArguments& arguments) {
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  const bool data = context.json || arguments.csv;
  std::vector<std::string> names = arguments.names;
  auto runs =
      read_words(*store, arguments, static_cast<std::size_t>(arguments.points.value_or(data ? 0 : kPlotPoints)), names);
  if (!runs) return report(context, runs.error());
  if (const auto chosen = choose(*runs, names, arguments.system); !chosen) return report(context, chosen.error());
  if (context.json) {
    context.print(to_json(*runs));
    return 0;
  }
  if (arguments.csv) {
    context.out.write(to_csv(*runs));
    return 0;
  }
  print_tables(context, *runs);
  // Plots are for eyes: in a pipe only when their shape was asked for.
  const bool shaped = arguments.width || arguments.height || arguments.log || arguments.x == "time";
  if (context.out.is_terminal() || shaped) {
    const std::string text = plot_text(context, *runs, names, arguments);
    if (!text.empty()) context.out.write("\n" + text);
  }
  return 0;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<MetricsArguments>();
  app.add_option("run", arguments->words, "The run (your last one when left out), then names of metrics, or more runs")
      ->type_name("RUN NAME…");
  app.add_option("--name", arguments->names, "Only this metric; may be repeated")->type_name("NAME")->one_value_each();
  app.add_option("--x", arguments->x, "What the plot goes along")->one_of({"step", "time"});
  app.add_flag("--log", arguments->log, "Logarithmic plot");
  app.add_option("--width", arguments->width, "Columns of the plot")->type_name("N");
  app.add_option("--height", arguments->height, "Lines of the plot")->type_name("N");
  app.add_flag("--system", arguments->system, "With what was measured of the machine (system/…)");
  app.add_option("--attempt", arguments->attempt, "Of this attempt; the last one when left out")->type_name("N");
  app.add_option("--points", arguments->points, "At most N points a metric, peaks kept; all with --json and --csv")
      ->type_name("N");
  app.add_flag("--csv", arguments->csv, "Every point as CSV");
  return [arguments](Context& context) { return metrics_action(context, *arguments); };
}

}  // namespace

Command metrics_command() {
  return {"metrics",
          "Looking",
          "Show the metrics of runs: values and a plot",
          true,
          configure,
          Completes::run,
          "Examples:\n"
          "  trainctl metrics @                   all metrics of your last run, the primary one as a plot\n"
          "  trainctl metrics digits-7 loss --log\n"
          "  trainctl metrics @ @2 --name loss    two runs in one plot"};
}

}  // namespace trainctl::cli
