// SPDX-License-Identifier: Apache-2.0
#include "spec/import/report.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/text.hpp"
#include "trainctl/result.hpp"

namespace trainctl::spec::import {
namespace {

/// Also a list or object that holds nothing but such.
bool is_empty(const Json& value) {
  return value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty()) ||
         (value.is_structured() && std::all_of(value.begin(), value.end(), is_empty));
}

}  // namespace

const char* to_string(Item::Fate fate) {
  switch (fate) {
    case Item::Fate::mapped:
      return "mapped";
    case Item::Fate::changed:
      return "changed";
    case Item::Fate::dropped:
      return "dropped";
    case Item::Fate::unset:
      return "unset";
  }
  return "";
}

std::string folded(std::string_view key) {
  std::string made = base::to_lower(key);
  std::erase_if(made, [](char c) { return c == '_' || c == '-'; });
  return made;
}

std::string dotted(std::string_view pointer) {
  std::string made;
  for (const std::string& part : base::split(pointer, '/')) {
    std::string key = part;
    for (std::size_t at = key.find("~1"); at != std::string::npos; at = key.find("~1", at + 1)) key.replace(at, 2, "/");
    for (std::size_t at = key.find("~0"); at != std::string::npos; at = key.find("~0", at + 1)) key.replace(at, 2, "~");
    made += (made.empty() ? "" : ".") + key;
  }
  return made;
}

Value Value::get(std::string_view key) const {
  if (json_ == nullptr || !json_->is_object()) return {};
  const std::string wanted = folded(key);
  for (const auto& [name, value] : json_->items()) {
    if (folded(name) == wanted) return {&value, base::pointer_append(pointer_, name)};
  }
  return {};
}

Value Value::at(std::string_view path) const {
  Value found = *this;
  for (const std::string& key : base::split(path, '.')) found = found.get(key);
  return found;
}

bool Value::is_set() const {
  return json_ != nullptr && !is_empty(*json_);
}

std::string Value::text() const {
  if (json_ == nullptr || json_->is_structured() || json_->is_null()) return {};
  return json_->is_string() ? json_->get<std::string>() : base::dump_json(*json_);
}

bool Value::truth() const {
  return base::to_lower(text()) == "true";
}

std::optional<std::int64_t> Value::whole() const {
  const std::string digits = text();
  std::int64_t number = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.empty() || read.ec != std::errc() || read.ptr != digits.data() + digits.size()) return std::nullopt;
  return number;
}

std::vector<Value> Value::items() const {
  std::vector<Value> made;
  if (json_ == nullptr || !json_->is_array()) return made;
  for (std::size_t i = 0; i < json_->size(); ++i) made.emplace_back(&(*json_)[i], pointer_ + "/" + std::to_string(i));
  return made;
}

std::vector<std::pair<std::string, Value>> Value::fields() const {
  std::vector<std::pair<std::string, Value>> made;
  if (json_ == nullptr || !json_->is_object()) return made;
  for (const auto& [name, value] : json_->items()) {
    made.emplace_back(name, Value(&value, base::pointer_append(pointer_, name)));
  }
  return made;
}

void Report::add(Item::Fate fate, const Value& from, std::string to, std::string note) {
  if (!from) return;
  const auto place = document_.positions.values.find(from.pointer());
  taken(from);
  items_.push_back({.fate = fate,
                    .field = dotted(from.pointer()),
                    .at = place == document_.positions.values.end() ? std::nullopt : std::optional(place->second),
                    .to = std::move(to),
                    .note = std::move(note)});
}

void Report::changed(const Value& from, std::string to, std::string note) {
  add(Item::Fate::changed, from, std::move(to), std::move(note));
}

void Report::again(const Value& from, std::string to, std::string note) {
  std::erase_if(items_, [&](const Item& item) { return item.field == dotted(from.pointer()); });
  changed(from, std::move(to), std::move(note));
}

void Report::walk(const Value& value, std::span<const Meaningless> table, std::string_view tool) {
  if (taken_.contains(value.pointer())) return;
  const std::string name = folded(dotted(value.pointer()));
  const auto known =
      std::find_if(table.begin(), table.end(), [&](const auto& row) { return folded(row.field) == name; });
  if (known != table.end()) {
    const auto standard = known->standard.empty() ? Result<Json>(Json()) : base::parse_json(known->standard);
    const bool usual = is_empty(value.json()) || (!known->standard.empty() && standard && *standard == value.json());
    return usual ? unset(value) : dropped(value, std::string(known->why));
  }
  if (is_empty(value.json())) return unset(value);
  if (value.json().is_object()) {
    for (const auto& entry : value.fields()) walk(entry.second, table, tool);
    return;
  }
  dropped(value, "this is no field of " + std::string(tool) + " that trainctl knows");
}

void Report::rest(std::span<const Meaningless> table, std::string_view tool) {
  for (const auto& entry : root().fields()) walk(entry.second, table, tool);
}

std::vector<Item> Report::items() && {
  std::stable_sort(items_.begin(), items_.end(), [](const Item& a, const Item& b) {
    const auto place = [](const Item& item) {
      return item.at ? std::pair(item.at->line, item.at->column) : std::pair<std::size_t, std::size_t>();
    };
    return place(a) < place(b);
  });
  return std::move(items_);
}

std::string Report::text_of(const Value& value) const {
  const auto written = document_.number_texts.find(value.pointer());
  return written == document_.number_texts.end() ? value.text() : written->second;
}

}  // namespace trainctl::spec::import
