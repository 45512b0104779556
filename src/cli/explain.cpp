// SPDX-License-Identifier: Apache-2.0
#include "cli/explain.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/explain_container.hpp"
#include "cli/explain_distribution.hpp"
#include "cli/explain_script.hpp"
#include "cli/output.hpp"
#include "engine/prepare.hpp"
#include "format/plan.hpp"
#include "snapshot/scan.hpp"
#include "spec/load.hpp"

namespace trainctl::cli {
namespace {

constexpr std::size_t kMostFiles = 20;

class Report {
 public:
  explicit Report(Context& context) : context_(context) {}
  void heading(std::string_view text) { context_.out.line(context_.out.paint(Style::bold, text)); }
  void row(std::string_view label, const std::string& value) {
    if (value.empty()) return;
    const std::size_t pad = label.size() < 18 ? 18 - label.size() : 1;
    context_.out.line("  " + context_.out.paint(Style::dim, label) + std::string(pad, ' ') + printable(value));
  }
  void text(const std::string& line) { context_.out.line("  " + printable(line)); }

 private:
  Context& context_;
};

std::string word(const Json& value) {
  return value.is_string() ? value.get<std::string>() : base::dump_json(value);
}

std::string field_of(const std::string& pointer) {
  std::string field = pointer.substr(pointer.empty() ? 0 : 1);
  std::replace(field.begin(), field.end(), '/', '.');
  return field;
}

std::string value_at(const Json& document, const std::string& pointer) {
  const Json::json_pointer path(pointer);
  return document.contains(path) ? word(document.at(path)) : std::string();
}

std::string duration_text(const std::optional<std::chrono::milliseconds>& value) {
  return value ? base::format_duration(*value) : std::string();
}

void explain_files(Report& out, const engine::Prepared& prepared) {
  out.heading("Files");
  if (!prepared.snapshot) {
    out.row("in place", prepared.plan.source.value("directory", "."));
    return;
  }
  out.row("source", prepared.plan.source.value("directory", "."));
  out.row("copied", base::format_count(prepared.snapshot->files) +
                        (prepared.snapshot->files == 1 ? " file, " : " files, ") +
                        base::format_size(prepared.snapshot->bytes));
  for (std::size_t i = 0; i < std::min(kMostFiles, prepared.preview.size()); ++i) {
    const snapshot::Sized& file = prepared.preview[i];
    const bool link = !file.target.empty();
    const std::string size = link ? "link" : base::format_size(file.size);
    out.text("  " + std::string(size.size() < 10 ? 10 - size.size() : 0, ' ') + size + "  " + file.path +
             (link ? " -> " + file.target : ""));
  }
  if (prepared.preview.size() > kMostFiles)
    out.text("  … and " + base::format_count(prepared.preview.size() - kMostFiles) + " more");
  for (const snapshot::LeftOut& left_out : prepared.snapshot->left_out) out.text(snapshot::note(left_out));
}

void explain_environment(Report& out, const EnvironmentState& environment) {
  if (environment.description.empty()) return;
  out.heading("Environment");
  out.text(environment.description);
  out.row("request key", environment.request_key.substr(0, 16));
  out.row("state", environment.state);
}

void explain_container(Report& out, const format::Plan& plan, const std::vector<std::string>& argv) {
  if (!plan.container) return;
  out.heading("Container");
  out.text(engine::container_description(*plan.container));
  std::string line;
  for (const std::string& part : container_command(plan, argv))
    line += (line.empty() ? "" : " ") + base::shell_quote(part);
  out.row("engine", line);
}

void explain_command(Report& out, const format::Plan& plan, const std::vector<std::string>& argv) {
  out.heading("Command");
  std::string line;
  for (const std::string& part : argv) line += (line.empty() ? "" : " ") + base::shell_quote(part);
  out.text(line);
  out.row("directory", plan.working_directory == "." ? "" : plan.working_directory);
  out.row("distribution", distribution_text(plan));
  if (plan.resume_from) out.row("resume from", plan.resume_from->path);
  for (const auto& item : plan.parameters.items()) out.row("parameter", item.key() + " = " + word(item.value()));
  for (const auto& [key, value] : plan.variables) out.row("variable", base::assignment(key, value));
  for (const std::string& secret : plan.secrets) out.row("secret", secret);
  for (const format::PlanInput& input : plan.inputs)
    out.row("input", input.name + " ← " + input.path + (input.mode == "copy" ? " (copied)" : ""));
  for (const format::PlanOutput& output : plan.outputs) {
    const std::string model =
        output.register_model.empty() ? "" : "  (a version of the model " + output.register_model + "; recorded only)";
    out.row("output", output.name + " → outputs/" + output.path + model);
  }
}

void explain_rules(Report& out, const format::Plan& plan) {
  out.heading("Limits");
  out.row("cpus", plan.resources.cpus ? base::format_number(*plan.resources.cpus) : "");
  out.row("memory", plan.resources.memory ? base::format_size(*plan.resources.memory) : "");
  out.row("gpus", plan.resources.gpus ? std::to_string(*plan.resources.gpus) : "");
  out.row("timeout", duration_text(plan.limits.timeout));
  out.row("queue timeout", duration_text(plan.limits.queue_timeout));
  out.row("start timeout", duration_text(plan.limits.start_timeout));
  out.row("idle", duration_text(plan.limits.idle));
  out.row("stop", plan.stop.signal + ", SIGTERM after " + base::format_duration(plan.stop.grace / 2) +
                      ", SIGKILL after " + base::format_duration(plan.stop.grace));
  if (plan.retry.max > 0) {
    std::string on;
    for (const std::string& cause : plan.retry.on) on += (on.empty() ? "" : ", ") + cause;
    out.row("retry", "up to " + std::to_string(plan.retry.max) + " times on " + on);
  }
}

void explain_origins(Report& out, const format::Plan& plan) {
  out.heading("Where each value came from");
  for (const auto& item : plan.origins.items()) {
    const Json::json_pointer pointer(item.key());
    if (!plan.spec.contains(pointer) || plan.spec[pointer].is_object()) continue;
    out.row(field_of(item.key()), word(plan.spec[pointer]) + "   " + item.value().get<std::string>());
  }
}

/// What was written on the left, the run configuration it stands for on the right; one row a field of the latter.
std::vector<std::pair<std::string, std::string>> estimator_rows(const spec::LoadedRun& run) {
  const spec::LoweredFrom& from = *run.lowered_from;
  std::vector<std::pair<std::string, std::string>> rows;
  std::vector<std::string> seen;
  for (const spec::LoweredFrom::Field& field : from.fields) {
    if (std::find(seen.begin(), seen.end(), field.to) != seen.end()) continue;
    seen.push_back(field.to);
    std::string left;
    for (const spec::LoweredFrom::Field& other : from.fields) {
      if (other.to != field.to || other.from.empty()) continue;
      left += (left.empty() ? "" : ", ") + field_of(other.from) + ": " + value_at(from.written, other.from);
    }
    rows.emplace_back(left.empty() ? "(estimator)" : fit(printable(left), 56),
                      field_of(field.to) + ": " + value_at(run.merged, field.to));
  }
  return rows;
}

void explain_estimator(Context& context, const spec::LoadedRun& run) {
  const spec::LoweredFrom& from = *run.lowered_from;
  context.out.line(context.out.paint(Style::bold, "Estimator") + "  " + printable(from.framework) +
                   (from.version.empty() ? "" : " " + printable(from.version)) + " (" + printable(from.preset) + ")");
  const auto rows = estimator_rows(run);
  std::size_t width = 0;
  for (const auto& row : rows) width = std::max(width, display_width(row.first));
  const char* arrow = context.out.utf8() ? "  → " : "  -> ";
  for (const auto& [left, right] : rows) {
    context.out.line("  " + context.out.paint(Style::dim, left) + std::string(width - display_width(left), ' ') +
                     arrow + printable(right));
  }
}

Json estimator_json(const spec::LoadedRun& run) {
  const spec::LoweredFrom& from = *run.lowered_from;
  Json fields = Json::array();
  for (const spec::LoweredFrom::Field& field : from.fields) {
    fields.push_back(
        {{"written", field.from.empty() ? Json(nullptr) : Json(field_of(field.from))}, {"became", field_of(field.to)}});
  }
  return {{"framework", from.framework},
          {"version", from.version.empty() ? Json(nullptr) : Json(from.version)},
          {"preset", from.preset},
          {"written", from.written},
          {"fields", fields}};
}

Json to_json(const engine::Prepared& prepared, const EnvironmentState& environment,
             const std::vector<std::string>& argv, bool origin) {
  Json json = format::to_json(prepared.plan);
  json.erase("id");
  json.erase("name");
  if (!origin) json.erase("origins");
  Json files = Json::array();
  for (const snapshot::Sized& file : prepared.preview) {
    files.push_back({{"path", file.path}, {"size", file.size}});
    if (!file.target.empty()) files.back()["link"] = file.target;
  }
  json["files"] = files;
  json["command_line"] = argv;
  if (prepared.plan.container) json["container_command"] = container_command(prepared.plan, argv);
  json["environment_key"] = environment.request_key.empty() ? Json(nullptr) : Json(environment.request_key);
  json["environment_state"] = environment.state;
  json["notes"] = prepared.notes;
  return json;
}

}  // namespace

int explain(Context& context, const archive::Store& store, const spec::LoadedRun& run, const ExplainOptions& options) {
  const auto prepared = engine::prepare(store, run, {.store_snapshot = false, .bare_command = options.bare_command});
  if (!prepared) return report(context, prepared.error());
  const EnvironmentState environment = environment_state(store, *prepared);
  const std::vector<std::string> argv = explained_command(prepared->plan);
  if (options.script) {
    context.out.write(shell_script(*prepared, environment));
    return 0;
  }
  if (context.json) {
    Json json = to_json(*prepared, environment, argv, options.origin);
    if (run.lowered_from) json["estimator"] = estimator_json(run);
    context.print(json);
    return 0;
  }
  Report out(context);
  if (run.lowered_from) explain_estimator(context, run);
  explain_files(out, *prepared);
  explain_environment(out, environment);
  explain_container(out, prepared->plan, argv);
  explain_command(out, prepared->plan, argv);
  explain_rules(out, prepared->plan);
  if (options.origin) explain_origins(out, prepared->plan);
  for (const std::string& note : prepared->notes)
    context.note(context.err.paint(Style::dim, "note: " + printable(note)));
  for (const std::string& warning : prepared->warnings) context.warn(printable(warning));
  return 0;
}

}  // namespace trainctl::cli
