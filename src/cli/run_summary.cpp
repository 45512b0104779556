// SPDX-License-Identifier: Apache-2.0
#include "cli/run_summary.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/contact_view.hpp"
#include "cli/output.hpp"
#include "cli/run_metrics.hpp"
#include "engine/collect.hpp"
#include "format/fold.hpp"
#include "format/goal.hpp"
#include "format/metric_summary.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/plan_target.hpp"
#include "format/state.hpp"

namespace trainctl::cli {
namespace {

constexpr std::size_t kMostOutputs = 4;
constexpr int kMostLogLines = 1;

Json seconds_or_null(const std::optional<std::chrono::microseconds>& time) {
  return time ? Json(static_cast<double>(time->count()) / 1e6) : Json(nullptr);
}

/// Bytes; 0 = unknown. It is null where nobody saw the rank end, as after an adoption.
std::uint64_t memory_peak(const format::RunState& state) {
  if (!state.end.is_object()) return 0;
  const auto found = state.end.find("memory_peak");
  return found != state.end.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

struct OutputFile {
  std::string path;
  std::uint64_t size;
};

/// Regular files below outputs/, at most `most` looked at.
std::vector<OutputFile> output_files(const std::filesystem::path& outputs, std::size_t most, bool& more) {
  std::vector<OutputFile> files;
  std::error_code problem;
  for (auto it = std::filesystem::recursive_directory_iterator(outputs, problem);
       !problem && it != std::filesystem::recursive_directory_iterator(); it.increment(problem)) {
    if (!it->is_regular_file(problem)) continue;
    if (files.size() == most) {
      more = true;
      break;
    }
    files.push_back({it->path().lexically_relative(outputs).string(), it->file_size(problem)});
  }
  std::sort(files.begin(), files.end(), [](const OutputFile& a, const OutputFile& b) { return a.path < b.path; });
  return files;
}

std::string outputs_text(const format::RunPaths& run, int attempt) {
  bool more = false;
  const auto files = output_files(run.attempt(attempt).outputs(), kMostOutputs, more);
  std::string text;
  for (const OutputFile& file : files) {
    text += (text.empty() ? "" : ", ") + printable(file.path) + " (" + base::format_size(file.size) + ")";
  }
  return text.empty() ? text : "outputs: " + text + (more ? ", …" : "");
}

/// The rank whose failure decided the end; 0 when none did.
int deciding_rank(const format::RunState& state) {
  if (!state.end.is_object()) return 0;
  const auto rank = state.end.find("rank");
  return rank != state.end.end() && rank->is_number_integer() ? rank->get<int>() : 0;
}

std::string last_log_line(const format::RunPaths& run, int attempt, int rank) {
  const format::AttemptPaths paths = run.attempt(attempt);
  const auto path = paths.log_copy(rank, format::last_log_copy(paths, rank));
  const std::uint64_t size = base::file_size(path).value_or(0);
  const std::uint64_t count = std::min<std::uint64_t>(size, 4096);
  const auto bytes = base::read_range(path, size - count, count);
  if (!bytes) return {};
  auto lines = base::split(*bytes, '\n');
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    if (!base::trim(*line).empty()) return std::string(base::trim(*line));
  }
  return {};
}

std::string headline(const Context& context, const std::string& name, const format::RunState& state) {
  std::string text = state_mark(context.err, state.state) + " " + context.err.paint(Style::bold, name) + " ";
  text += state.state == format::State::timed_out ? "timed out" : std::string(format::to_string(state.state));
  if (state.took) {
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(*state.took);
    text += (state.state == format::State::succeeded ? " in " : " after ") + base::format_duration(took);
  }
  return text;
}

/// Does a log line say what went wrong ("ModuleNotFoundError: …", "fatal: …")? Ordinary output must not be taken for
/// it.
bool tells_a_reason(std::string_view line) {
  const std::string lower = base::to_lower(line.substr(0, line.find(' ')));
  if (!lower.ends_with(':')) return false;
  return lower.ends_with("error:") || lower.ends_with("exception:") || lower == "fatal:" ||
         lower.ends_with("interrupt:");
}

Json texts_to_json(const std::vector<format::LoggedText>& texts) {
  Json items = Json::array();
  for (const format::LoggedText& text : texts) {
    items.push_back({{"name", text.name},
                     {"step", text.step ? Json(*text.step) : Json(nullptr)},
                     {"text", text.text},
                     {"file", text.file.empty() ? Json(nullptr) : Json(text.file)}});
  }
  return items;
}

/// What went wrong, in words, with the last line of the log where the script says more than we can.
std::string failure_text(const format::RunPaths& run, const format::RunState& state) {
  std::string text = printable(base::split(state.message, '\n').front());
  const bool script_failed = state.cause == format::Cause::exit || state.cause == format::Cause::signal;
  if (script_failed && state.attempt > 0) {
    const std::string line = last_log_line(run, state.attempt, deciding_rank(state));
    if (tells_a_reason(line)) text = printable(line) + (text.empty() ? "" : " (" + text + ")");
  }
  return text;
}

}  // namespace

std::string state_mark(const Stream& out, format::State state) {
  switch (state) {
    case format::State::succeeded:
      return out.paint(Style::green, out.utf8() ? "✓" : "ok");
    case format::State::failed:
    case format::State::lost:
    case format::State::timed_out:
      return out.paint(Style::red, out.utf8() ? "✗" : "failed:");
    case format::State::canceled:
      return out.paint(Style::yellow, out.utf8() ? "✗" : "canceled:");
    default:
      return out.paint(Style::blue, out.utf8() ? "●" : "*");
  }
}

Json place_to_json(const format::RunState& state) {
  // The record may come from another machine: only what has the form of ours.
  const auto text = [](const Json& from, const char* key) -> Json {
    if (!from.is_object()) return nullptr;
    const auto found = from.find(key);
    return found != from.end() && found->is_string() && *found != "" ? *found : Json(nullptr);
  };
  Json place = {{"host", text(state.lead, "host")}};
  if (place["host"].is_null()) return nullptr;
  const auto slurm = state.lead.find("slurm");
  if (slurm != state.lead.end() && !text(*slurm, "job").is_null())
    place["slurm"] = {{"job", text(*slurm, "job")}, {"nodes", text(*slurm, "nodes")}};
  return place;
}

Json run_to_json(const format::RunPaths& run, const format::Plan& plan, const format::RunState& state) {
  const auto text_or_null = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  Json metrics = Json::object();
  const MetricReader recorded = run_metrics(run, state.attempt);
  for (const auto& [name, value] : recorded.metrics()) {
    if (name.starts_with("system/")) continue;
    metrics[name] = {
        {"last", number_or_text(value.last)},
        {"best", number_or_text(value.best(format::goal_of(name, plan.metrics.primary, plan.metrics.goal)))},
        {"step", value.step ? Json(*value.step) : Json(nullptr)}};
  }
  Json json = {{"id", plan.id},
               {"name", plan.name},
               {"state", format::to_string(state.state)},
               {"cause", state.cause ? Json(format::to_string(*state.cause)) : Json(nullptr)},
               {"exit_code", state.exit_code ? Json(*state.exit_code) : Json(nullptr)},
               {"message", text_or_null(state.message)},
               {"target", format::target_name(plan)},
               {"experiment", text_or_null(plan.experiment)},
               {"created", plan.created},
               {"started", text_or_null(state.started)},
               {"ended", text_or_null(state.ended)},
               {"seconds", seconds_or_null(state.took)},
               {"attempts", state.attempt},
               {"parameters", format::with_logged(plan.parameters, recorded.all().parameters)},
               {"metrics", metrics},
               {"tags", format::with_logged(plan.tags, recorded.all().tags)},
               {"texts", texts_to_json(recorded.all().texts)},
               {"directory", run.root.string()}};
  if (Json contact = contact_json(run, state.state); !contact.is_null()) json["contact"] = std::move(contact);
  if (Json place = place_to_json(state); !place.is_null()) json["place"] = std::move(place);
  if (plan.target.value("type", "local") != "local")
    json["outputs"] = engine::to_string(engine::outputs_record(run, plan, state).state);
  return json;
}

namespace {

void print_json_summary(const Context& context, const Json& body) {
  Json line = {{"type", "run"}};
  for (const auto& item : body.items()) line[item.key()] = item.value();
  context.print(line);
  context.out.flush();
}

std::string success_text(const Context& context, const format::RunPaths& run, const format::Plan& plan,
                         const format::RunState& state) {
  std::string text = metrics_brief(context.err, run, state.attempt, plan.metrics);
  if (const std::uint64_t peak = memory_peak(state); peak > 0) text += "   peak " + base::format_size(peak);
  if (const std::string outputs = outputs_text(run, state.attempt); !outputs.empty()) text += "   " + outputs;
  return text;
}

/// What a resolver or the kernel said, below the first sentence; and where to look.
void print_failure(const Context& context, const std::string& name, const format::RunState& state) {
  const auto rest = base::split(state.message, '\n');
  for (std::size_t i = kMostLogLines; i < rest.size(); ++i) {
    if (!rest[i].empty()) context.err.line("  " + printable(rest[i]));
  }
  for (const std::string& warning : state.warnings) context.warn(printable(warning));
  if (state.state != format::State::failed || state.cause == format::Cause::environment) return;
  const int rank = deciding_rank(state);
  const std::string logs = name + (rank > 0 ? " --rank " + std::to_string(rank) : "");
  context.err.line(
      context.err.paint(Style::dim, "  full log: trainctl logs " + logs + "   record: trainctl show " + name));
}

}  // namespace

void print_summary(Context& context, const format::RunPaths& run, const format::RunState& state) {
  const auto plan = format::read_plan(run.plan());
  if (!plan) {
    (void)report(context, plan.error());
    return;
  }
  if (context.json) return print_json_summary(context, run_to_json(run, *plan, state));
  const bool succeeded = state.state == format::State::succeeded;
  if (context.quiet && succeeded) return;
  std::string text = headline(context, plan->name, state);
  if (succeeded) {
    text += success_text(context, run, *plan, state);
  } else if (const std::string why = failure_text(run, state); !why.empty()) {
    text += ": " + why;
  }
  context.err.line(text);
  if (succeeded) {
    for (const std::string& warning : state.warnings) context.warn(printable(warning));
  } else {
    print_failure(context, plan->name, state);
  }
  context.err.flush();
}

}  // namespace trainctl::cli
