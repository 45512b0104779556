// SPDX-License-Identifier: Apache-2.0
#include "host/mlflow/tracking.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/json.hpp"
#include "format/metric.hpp"

namespace trainctl::host {
namespace {

std::string text(const Json& record, const char* key) {
  const auto found = record.find(key);
  return found != record.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::int64_t milliseconds(const Json& record) {
  const auto found = record.find("t");
  return found != record.end() && found->is_number() ? static_cast<std::int64_t>(found->get<double>() * 1000) : 0;
}

/// A name that may stand in a path and before a slash.
std::string safe_name(const std::string& wanted) {
  std::string name = wanted.substr(0, 100);
  for (char& c : name)
    if (static_cast<unsigned char>(c) < 0x20 || c == '/' || c == '\\' || c == 0x7f) c = '_';
  if (name.empty() || name.front() == '.') name.insert(0, "_");
  return name;
}

}  // namespace

Tracking::Tracking(std::string run, std::string name, std::string experiment, std::int64_t started_ms)
    : main_(std::move(run)), experiment_(std::move(experiment)) {
  runs_[main_] = {.id = main_, .name = std::move(name), .started_ms = started_ms};
}

const TrackedRun* Tracking::find_run(const std::string& id) const {
  const auto found = runs_.find(id);
  return found == runs_.end() ? nullptr : &found->second;
}

const TrackedModel* Tracking::find_model(const std::string& id) const {
  const auto found = models_.find(id);
  return found == models_.end() ? nullptr : &found->second;
}

std::string Tracking::free_prefix(const std::string& parent, const std::string& wanted) const {
  const TrackedRun* above = find_run(parent);
  const std::string start = above == nullptr ? "" : above->prefix;
  const std::string name = wanted.empty() ? "run-" + std::to_string(runs_.size() + 1) : safe_name(wanted);
  for (int number = 1;; ++number) {
    std::string prefix = start + name + (number == 1 ? "" : "-" + std::to_string(number)) + "/";
    if (std::none_of(runs_.begin(), runs_.end(), [&](const auto& run) { return run.second.prefix == prefix; }))
      return prefix;
  }
}

std::string Tracking::free_folder(const std::string& wanted) const {
  const std::string name = wanted.empty() ? "model" : safe_name(wanted);
  for (int number = 1;; ++number) {
    std::string folder = name + (number == 1 ? "" : "-" + std::to_string(number));
    if (std::none_of(models_.begin(), models_.end(), [&](const auto& model) { return model.second.folder == folder; }))
      return folder;
  }
}

void Tracking::apply(const format::MetricPoint& point) {
  TrackedRun* run = &runs_[main_];
  for (auto& [id, other] : runs_)
    if (other.prefix.size() > run->prefix.size() && point.name.starts_with(other.prefix)) run = &other;
  format::MetricPoint& last = run->metrics[point.name.substr(run->prefix.size())];
  if (last.name.empty() || last.step <= point.step) last = point;
}

void Tracking::apply_run(const Json& record) {
  TrackedRun& run = runs_[text(record, "run")];
  if (run.id.empty()) {
    run.id = text(record, "run");
    run.prefix = text(record, "name") + "/";
    run.started_ms = milliseconds(record);
    run.name = text(record, "title");
    run.parent = text(record, "parent");
  } else if (const std::string title = text(record, "title"); !title.empty()) {
    run.name = title;
  }
  if (const std::string status = text(record, "status"); !status.empty()) {
    run.status = status;
    run.ended_ms = status == "RUNNING" || status == "SCHEDULED" ? 0 : milliseconds(record);
  }
  if (const auto deleted = record.find("deleted"); deleted != record.end()) run.deleted = *deleted == true;
}

void Tracking::apply_model(const Json& record) {
  TrackedModel& model = models_[text(record, "model")];
  if (model.id.empty()) {
    model.id = text(record, "model");
    model.folder = text(record, "name");
    model.name = text(record, "title");
    model.run = text(record, "run");
    model.created_ms = milliseconds(record);
  }
  if (const std::string status = text(record, "status"); !status.empty()) model.status = status;
  for (const auto& [key, into] : {std::pair{"params", &model.params}, std::pair{"tags", &model.tags}}) {
    const auto found = record.find(key);
    if (found == record.end() || !found->is_object()) continue;
    for (const auto& [name, value] : found->items())
      if (value.is_string()) (*into)[name] = value.get<std::string>();
  }
}

void Tracking::apply(const Json& record) {
  if (!record.is_object()) return;
  const std::string type = text(record, "type");
  if (type == "run") return apply_run(record);
  if (type == "model") return apply_model(record);
  if (type != "param" && type != "tag") return;
  const std::string id = text(record, "run");
  const auto found = runs_.find(id.empty() ? main_ : id);
  const std::string name = text(record, "name");
  if (found == runs_.end() || name.size() <= found->second.prefix.size()) return;
  auto& values = type == "param" ? found->second.params : found->second.tags;
  const std::string key = name.substr(found->second.prefix.size());
  if (const auto value = record.find("value"); value != record.end() && value->is_string())
    values[key] = value->get<std::string>();
  else
    values.erase(key);
}

void encode_record(const Json& record, std::string& out) {
  std::string line = base::dump_json(record);
  Json cut = record;
  while (line.size() >= format::kMaxMetricLine) {
    // The longest text gives way.
    Json* longest = nullptr;
    for (auto& [key, value] : cut.items()) {
      if (value.is_object()) value = Json::object();
      if (!value.is_string() || key == "run" || key == "model") continue;
      if (longest == nullptr || value.get_ref<std::string&>().size() > longest->get_ref<std::string&>().size())
        longest = &value;
    }
    if (longest == nullptr || longest->get_ref<std::string&>().size() < 2) return;
    auto& text = longest->get_ref<std::string&>();
    std::size_t size = std::min(text.size() / 2, format::kMaxMetricLine / 2);
    while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0U) == 0x80U) --size;
    text.resize(size);
    cut["truncated"] = true;
    line = base::dump_json(cut);
  }
  out += line;
  out += '\n';
}

}  // namespace trainctl::host
