// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "spec/estimator.hpp"
#include "spec/estimator_preset.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"
#include "spec/lower.hpp"
#include "spec/lower_parts.hpp"
#include "spec/release.hpp"
#include "spec/schema.hpp"

namespace trainctl::spec {

LoweredRun::LoweredRun(const Layer& written_layer, const LowerInput& lower_input)
    : written(written_layer), input(lower_input), complaints(written_layer.origins), out(written_layer) {
  read_estimator(written.value, estimator);
  remove_key(out, "type");
  for (const Field& field : estimator_fields()) remove_key(out, std::string(field.name));
  record.written = written.value;
  if (input.found == nullptr) return;
  record.framework = input.found->preset.name;
  record.preset = input.found->source;
}

std::string LoweredRun::title() const {
  if (preset() == nullptr) return "this estimator";
  return preset()->title.value_or(preset()->name);
}

const Json* LoweredRun::value(const std::string& pointer) const {
  const Json::json_pointer path(pointer);
  return written.value.contains(path) ? &written.value.at(path) : nullptr;
}

std::optional<std::int64_t> LoweredRun::number(const std::string& pointer) const {
  const Json* found = value(pointer);
  return found != nullptr && found->is_number_integer() ? std::optional(found->get<std::int64_t>()) : std::nullopt;
}

bool LoweredRun::from_settings(const std::string& pointer) const {
  const Origin* origin = find_origin(written.origins, pointer);
  return origin != nullptr && origin->kind <= Origin::Kind::project;
}

Json& LoweredRun::place(const std::string& pointer) {
  Json* slot = &out.value;
  std::size_t at = 0;
  while (at < pointer.size()) {
    const std::size_t next = std::min(pointer.find('/', at + 1), pointer.size());
    const Json::json_pointer step(pointer.substr(at, next - at));
    if (!slot->is_object()) *slot = Json::object();
    slot = &(*slot)[step.back()];
    at = next;
  }
  return *slot;
}

void LoweredRun::remember(const std::string& from, const std::string& to) {
  const auto same = [&](const LoweredFrom::Field& field) { return field.from == from && field.to == to; };
  if (std::none_of(record.fields.begin(), record.fields.end(), same)) record.fields.push_back({from, to});
}

Origin LoweredRun::origin_of(const std::string& from) const {
  if (!from.empty()) {
    const Origin* found = find_origin(written.origins, from);
    return found == nullptr ? Origin{} : *found;
  }
  Origin origin{.kind = Origin::Kind::built_in, .label = "estimator " + record.framework};
  if (record.preset != "built in") origin.label += " (" + record.preset + ")";
  return origin;
}

void LoweredRun::set(const std::string& pointer, Json value, const std::string& from) {
  remove(pointer);
  place(pointer) = std::move(value);
  out.origins.insert_or_assign(pointer, origin_of(from));
  remember(from, pointer);
}

void LoweredRun::append(const std::string& pointer, Json value, const std::string& from) {
  Json& list = place(pointer);
  if (!list.is_array()) list = Json::array();
  out.origins.try_emplace(pointer, origin_of(from));
  out.origins.insert_or_assign(pointer + "/" + std::to_string(list.size()), origin_of(from));
  list.push_back(std::move(value));
  // "/pip_packages/0" and "/pip_packages/1" are one row for people.
  const std::size_t slash = from.rfind('/');
  const bool item =
      slash != std::string::npos && slash > 0 && from.find_first_not_of("0123456789", slash + 1) == std::string::npos;
  remember(item ? from.substr(0, slash) : from, pointer);
}

void LoweredRun::remove(const std::string& pointer) {
  const Json::json_pointer path(pointer);
  if (out.value.contains(path)) out.value.at(path.parent_pointer()).erase(path.back());
  out.origins.erase(pointer);
  const std::string below = pointer + "/";
  for (auto it = out.origins.lower_bound(below); it != out.origins.end() && it->first.starts_with(below);) {
    it = out.origins.erase(it);
  }
}

namespace {

const PresetVersions* find_range(const EstimatorPreset& preset, const std::string& version) {
  for (const PresetVersions& range : preset.versions) {
    if (range.from && compare_releases(version, *range.from) < 0) continue;
    if (range.until && compare_releases(version, *range.until) >= 0) continue;
    return &range;
  }
  return nullptr;
}

std::vector<std::string> known_releases(const EstimatorPreset& preset) {
  std::vector<std::string> known;
  for (const PresetVersions& range : preset.versions) known.insert(known.end(), range.known.begin(), range.known.end());
  return known;
}

std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

ChosenVersion choose_version(LoweredRun& run) {
  ChosenVersion chosen;
  const EstimatorPreset* preset = run.preset();
  if (preset == nullptr) return chosen;
  const auto complain = [&](std::string message, std::string hint) {
    run.complaints.add("/framework_version", "framework_version", std::move(message), std::move(hint));
  };
  const auto& asked = run.estimator.framework_version;
  if (preset->versions.empty()) {
    if (asked) complain(run.title() + " has no version", "name the packages with their versions in \"pip_packages\"");
    return chosen;
  }
  const std::string version = asked ? *asked : preset->default_version.value_or("");
  if (!is_release(version)) {
    complain("\"" + version + "\" is not a version",
             "like \"" + preset->default_version.value_or("1.0") + "\"; left out, it is that one");
    return chosen;
  }
  const ReleaseAdvice advice = advise(version, known_releases(*preset));
  const PresetVersions* range = find_range(*preset, advice.effective);
  if (advice.state == ReleaseState::unknown || range == nullptr) {
    const std::string near = advice.near.empty() ? std::string() : "near it: " + listed(advice.near) + "; ";
    complain("there is no " + run.title() + " " + version,
             near + "trainctl estimator show " + preset->name + " lists what is known");
    return chosen;
  }
  if (advice.state == ReleaseState::newer) {
    run.notes.push_back(run.title() + " " + version + " is newer than what this trainctl knows; it is taken as it is");
  }
  return {.asked = version, .effective = advice.effective, .range = range};
}

}  // namespace trainctl::spec
