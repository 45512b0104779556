// SPDX-License-Identifier: Apache-2.0
#include "host/metrics/table_files.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/text.hpp"
#include "format/metric.hpp"
#include "host/metrics/patterns.hpp"

namespace trainctl::host {
namespace {

std::optional<std::int64_t> whole(double number) {
  if (!(std::fabs(number) < 9e18)) return std::nullopt;
  return static_cast<std::int64_t>(std::floor(number));
}

std::optional<double> find_value(const TableRow& row, std::string_view name) {
  for (const auto& [key, value] : row.values)
    if (key == name) return value;
  return std::nullopt;
}

/// The first of the two columns that is there becomes the step and no value of its own.
void take_step(TableRow& row, std::string_view first, std::string_view second) {
  for (const std::string_view name : {first, second}) {
    const auto value = find_value(row, name);
    if (!value || row.step) continue;
    row.step = whole(*value);
    std::erase_if(row.values, [name](const auto& entry) { return entry.first == name; });
  }
}

/// The cells of one line of CSV; quoted ones without their quotes.
std::vector<std::string> cells(std::string_view line) {
  std::vector<std::string> found(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
      found.back() += c;
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      found.emplace_back();
    } else if (c != '\r') {
      found.back() += c;
    }
  }
  return found;
}

}  // namespace

std::vector<TableRow> parse_chainer_log(std::string_view text) {
  std::vector<TableRow> rows;
  text = base::trim(text);
  if (!text.starts_with('[') || !text.ends_with(']')) return rows;
  const auto json = base::parse_json(text);
  if (!json || !json->is_array()) return rows;
  for (const Json& entry : *json) {
    if (!entry.is_object() || (!entry.contains("iteration") && !entry.contains("epoch"))) return {};
    TableRow& row = rows.emplace_back();
    for (const auto& [name, value] : entry.items()) {
      if (value.is_number()) row.values.emplace_back(name, value.get<double>());
      if (!value.is_string()) continue;
      if (const auto special = format::parse_special_number(value.get_ref<const std::string&>()))
        row.values.emplace_back(name, *special);
    }
    take_step(row, "iteration", "epoch");
  }
  return rows;
}

std::vector<TableRow> parse_metrics_csv(std::string_view text) {
  std::vector<TableRow> rows;
  std::vector<std::string> header;
  for (auto end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    const auto line = cells(text.substr(0, end));
    text.remove_prefix(end + 1);
    if (header.empty()) {
      header = line;
      const auto has = [&header](const char* name) {
        return std::find(header.begin(), header.end(), name) != header.end();
      };
      if (!has("step") && !has("epoch")) return {};
      continue;
    }
    TableRow& row = rows.emplace_back();
    for (std::size_t i = 0; i < std::min(line.size(), header.size()); ++i) {
      const auto value = parse_captured_number(line[i]);
      if (value && !header[i].empty()) row.values.emplace_back(header[i], *value);
    }
    take_step(row, "step", "epoch");
  }
  return rows;
}

}  // namespace trainctl::host
