// SPDX-License-Identifier: Apache-2.0
#include "spec/lower.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "spec/complaints.hpp"
#include "spec/estimator_preset.hpp"
#include "spec/kinds.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"
#include "spec/lower_parts.hpp"
#include "spec/release.hpp"
#include "spec/run_configuration.hpp"
#include "trainctl/error.hpp"

namespace trainctl::spec {
namespace {

constexpr std::uint64_t kMaxRequirementsBytes = 4U << 20U;

// ---- variables, metrics, earlier outputs ---------------------------------------------------------------------------

void add_variables(LoweredRun& run, const TextMap& variables) {
  for (const auto& [name, value] : variables) {
    const std::string pointer = base::pointer_append("/environment_variables", name);
    if (!run.wrote(pointer)) run.set(pointer, value, "");
  }
}

void lower_variables(LoweredRun& run, const Facts& facts) {
  if (run.preset() == nullptr) return;
  add_variables(run, run.preset()->variables);
  if (facts.version.range != nullptr) add_variables(run, facts.version.range->variables);
  for (const PresetDistribution& one : run.preset()->distributions) {
    if (facts.style && facts.style->name == one.name) add_variables(run, one.variables);
  }
}

void lower_metrics(LoweredRun& run) {
  if (run.preset() == nullptr || run.preset()->metric_patterns.empty() || run.wrote("/metrics/patterns")) return;
  for (const std::string& pattern : run.preset()->metric_patterns) run.append("/metrics/patterns", pattern, "");
}

void note_unused(LoweredRun& run) {
  for (const char* name : {"vm_size", "vm_priority", "source_directory_data_store"}) {
    if (!run.wrote(std::string("/") + name)) continue;
    run.notes.push_back(std::string(name) + " is left out: this target makes no machines and has no data stores");
  }
}

// ---- checks and hints of the preset
// ----------------------------------------------------------------------------------

struct RuleField {
  std::string_view name;
  std::string_view pointer;
  std::string_view field;
};
constexpr std::array<RuleField, 5> kRuleFields = {{
    {"framework_version", "/framework_version", "framework_version"},
    {"distribution", "/distributed_training", "distributed_training"},
    {"gpu", "/use_gpu", "use_gpu"},
    {"nodes", "/resources/nodes", "resources.nodes"},
    {"processes_per_node", "/distribution/processes_per_node", "distribution.processes_per_node"},
}};

std::string text_of(const Facts& facts, std::string_view field) {
  if (field == "framework_version") return facts.version.effective;
  if (field == "distribution") return facts.style ? std::string(facts.style->name) : "none";
  if (field == "gpu") return facts.gpu ? "true" : "false";
  return std::to_string(field == "nodes" ? facts.nodes : facts.processes_per_node);
}

bool holds(const PresetCondition& condition, const Facts& facts) {
  const std::string text = text_of(facts, condition.field);
  const bool number = condition.field == "nodes" || condition.field == "processes_per_node";
  if (condition.above) {
    const std::int64_t value = condition.field == "nodes" ? facts.nodes : facts.processes_per_node;
    if (!number || value <= *condition.above) return false;
  }
  if (!condition.is.empty() && std::find(condition.is.begin(), condition.is.end(), text) == condition.is.end()) {
    return false;
  }
  if ((condition.from || condition.until) && text.empty()) return false;
  if (condition.from && compare_releases(text, *condition.from) < 0) return false;
  return !condition.until || compare_releases(text, *condition.until) < 0;
}

void apply_rules(LoweredRun& run, const Facts& facts) {
  const auto fires = [&](const PresetRule& rule) {
    return std::all_of(rule.when.begin(), rule.when.end(),
                       [&](const PresetCondition& one) { return holds(one, facts); });
  };
  for (const PresetRule& rule : run.preset()->checks) {
    if (!fires(rule)) continue;
    RuleField place{"", "/framework", "framework"};
    for (const RuleField& field : kRuleFields) {
      if (!rule.when.empty() && field.name == rule.when.front().field) place = field;
    }
    const std::string pointer = run.wrote(std::string(place.pointer)) ? std::string(place.pointer) : "/framework";
    run.complaints.add(pointer, std::string(place.field), rule.say, rule.instead.value_or(""));
  }
  for (const PresetRule& rule : run.preset()->hints) {
    if (fires(rule)) run.notes.push_back(rule.say + (rule.instead ? ": " + *rule.instead : ""));
  }
}

// ---- around the pure part
// --------------------------------------------------------------------------------------------

std::set<std::string, std::less<>> names_in(const fs::path& requirements_file) {
  std::set<std::string, std::less<>> names;
  const auto text = base::read_file(requirements_file, kMaxRequirementsBytes);
  if (!text) return names;  // that it is not there is said when files are checked
  for (const std::string& line : base::split(*text, '\n')) {
    if (std::string name = package_name(line); !name.empty()) names.insert(std::move(name));
  }
  return names;
}

std::optional<FoundPreset> find_preset(const Layer& written, const LowerPlaces& places, Errors& errors) {
  const auto framework = written.value.find("framework");
  Complaints out(written.origins);
  if (framework == written.value.end() || !framework->is_string()) {
    if (errors.empty()) {
      out.add("", "", "the framework is missing", "write \"framework\": \"scikit-learn\" (trainctl estimator ls)");
    }
  } else {
    auto found = Presets(places.presets).load(framework->get<std::string>());
    if (found) return std::move(*found);
    for (Error& error : found.error()) {
      if (error.code == Errc::not_found) {
        out.add("/framework", "framework", error.message, error.hint);
      } else {
        errors.push_back(std::move(error));
      }
    }
  }
  for (Error& error : out.take()) errors.push_back(std::move(error));
  return std::nullopt;
}

}  // namespace

std::string package_name(std::string_view requirement) {
  std::string_view text = base::trim(requirement);
  if (text.empty() || text.front() == '#' || text.front() == '-' || text.front() == '.' || text.front() == '/')
    return {};
  const std::size_t end = text.find_first_of(" \t<>=!~;[#@(,");
  text = text.substr(0, end);
  if (text.find('/') != std::string_view::npos || text.find(':') != std::string_view::npos) return {};
  std::string name;
  for (const char c : base::to_lower(text)) {
    const bool dash = c == '-' || c == '_' || c == '.';
    if (dash && (name.empty() || name.back() == '-')) continue;
    name.push_back(dash ? '-' : c);
  }
  return name;
}

Lowered lower(const Layer& written, const LowerInput& input, Errors& errors) {
  LoweredRun run(written, input);
  Facts facts;
  facts.version = choose_version(run);
  lower_distribution(run, facts);
  lower_environment(run, facts);
  lower_variables(run, facts);
  lower_metrics(run);
  note_unused(run);
  if (run.preset() != nullptr) apply_rules(run, facts);
  run.record.version = facts.version.asked;
  for (Error& error : run.complaints.take()) errors.push_back(std::move(error));
  return {.run = std::move(run.out), .record = std::move(run.record), .notes = std::move(run.notes)};
}

Layer lower_estimator(Layer written, const LowerPlaces& places, LoadedRun& run, Errors& errors) {
  const auto found = find_preset(written, places, errors);
  LowerInput input{.found = found ? &*found : nullptr};
  const auto file = written.value.find("pip_requirements_file");
  if (file != written.value.end() && file->is_string())
    input.declared = names_in(places.base / file->get<std::string>());
  Lowered lowered = lower(written, input, errors);
  run.lowered_from = std::move(lowered.record);
  run.notes.insert(run.notes.end(), lowered.notes.begin(), lowered.notes.end());
  return std::move(lowered.run);
}

}  // namespace trainctl::spec
