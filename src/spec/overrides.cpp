// SPDX-License-Identifier: Apache-2.0
#include "spec/overrides.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "spec/check.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"
#include "spec/schema.hpp"
#include "trainctl/error.hpp"

namespace trainctl::spec {
namespace {

/// A flag's text as the JSON its type wants. Where it does not fit it stays text, and the check says what was expected.
Json parse_by_type(const Type& type, const std::string& text) {
  const auto json = [&]() -> Json {
    auto located = base::parse_located(text, "");
    return located ? std::move(located->value) : Json(text);
  };
  using Kind = Type::Kind;
  if (text == "null") return nullptr;
  const bool bracket = text.starts_with('[') || text.starts_with('{');
  switch (type.kind) {
    case Kind::text:
    case Kind::word:
    case Kind::duration:
    case Kind::size:
      return text;
    case Kind::list:
      return bracket ? json() : Json::array({parse_by_type(*type.element, text)});
    case Kind::command:
      return bracket ? json() : Json(text);
    default:
      return json();
  }
}

void add_error(Errors& errors, const std::string& label, std::string message, std::string hint = {},
               std::string field = {}) {
  Error error{.code = Errc::invalid, .message = label + ": " + std::move(message)};
  error.field = std::move(field);
  error.hint = std::move(hint);
  errors.push_back(std::move(error));
}

class Builder {
 public:
  Builder(const Table& table, Errors& errors) : table_(table), errors_(errors) {}

  void assign(const std::string& label, const std::string& dotted, const std::string& text) {
    auto found = find_type(table_, dotted);
    if (!found) {
      return add_error(errors_, label, found.error().message, found.error().hint, dotted);
    }
    put(label, *found, text);
  }

  /// "k=v" of a flag for one key of a map.
  void entry(const std::string& flag, const std::string& map, const std::string& written) {
    const std::string label = flag + " " + written;
    const std::size_t equals = written.find('=');
    if (equals == std::string::npos || equals == 0) {
      return add_error(errors_, label, "expected KEY=VALUE", flag + " " + map_example(map), map);
    }
    const FoundType whole = *find_type(table_, map);
    put(label, {.type = whole.type->element, .path = {map, written.substr(0, equals)}}, written.substr(equals + 1));
  }

  Layer take() { return std::move(layer_); }

 private:
  static std::string map_example(const std::string& map) { return map == "parameters" ? "lr=0.01" : "team=vision"; }

  void put(const std::string& label, const FoundType& found, const std::string& text) {
    std::string field;
    std::string pointer;
    for (const std::string& step : found.path) {
      field += (field.empty() ? "" : ".") + step;
      pointer = base::pointer_append(pointer, step);
    }
    const std::size_t before = errors_.size();
    Json parsed = parse_by_type(*found.type, text);
    if (found.conversion == Conversion::seconds && text.find_first_not_of("0123456789.") == std::string::npos) {
      parsed = text + "s";
    }
    Layer checked = check_value(parsed, *found.type, field, {.kind = Origin::Kind::flag, .label = label}, errors_);
    for (std::size_t i = before; i < errors_.size(); ++i) errors_[i].message += " (" + label + ")";
    // Not merge(): a null has to stay, it takes away what the layers below say.
    Json* slot = &layer_.value;
    for (const std::string& key : found.path) {
      if (!slot->is_object()) *slot = Json::object();
      slot = &(*slot)[key];
    }
    *slot = std::move(checked.value);
    imply(label, found, parsed);
    for (auto& [inner, origin] : checked.origins) layer_.origins.insert_or_assign(pointer + inner, std::move(origin));
  }

  /// A word that says something about its neighbour ("distribution.type=nccl").
  void imply(const std::string& label, const FoundType& found, const Json& given) {
    const auto* text = given.get_ptr<const std::string*>();
    const WordAlias* alias = text == nullptr ? nullptr : find_word_alias(*found.type, *text);
    if (alias == nullptr || alias->field.empty()) return;
    const auto value = base::parse_json(alias->value);
    Json* slot = &layer_.value;
    std::string pointer;
    for (std::size_t i = 0; i + 1 < found.path.size(); ++i) {
      slot = &(*slot)[found.path[i]];
      pointer = base::pointer_append(pointer, found.path[i]);
    }
    Json& neighbour = (*slot)[std::string(alias->field)];
    if (!value || !neighbour.is_null()) return;
    neighbour = *value;
    layer_.origins.insert_or_assign(base::pointer_append(pointer, std::string(alias->field)),
                                    Origin{.kind = Origin::Kind::flag, .label = label});
  }

  const Table& table_;
  Errors& errors_;
  Layer layer_;
};

}  // namespace

Json parse_scalar(const std::string& text) {
  if (auto located = base::parse_located(text, ""); located && located->value.is_primitive() &&
                                                    !located->value.is_string() &&
                                                    base::dump_json(located->value) == text) {
    return std::move(located->value);
  }
  return text;
}

Layer override_layer(const Overrides& overrides, const Table& table, Errors& errors) {
  Builder builder(table, errors);
  for (const std::string& written : overrides.set) {
    const std::string label = "--set " + written;
    const std::size_t equals = written.find('=');
    if (equals == std::string::npos || equals == 0) {
      add_error(errors, label, "expected FIELD=VALUE", "for example --set limits.timeout=2h");
    } else {
      builder.assign(label, written.substr(0, equals), written.substr(equals + 1));
    }
  }
  for (const std::string& written : overrides.parameters) builder.entry("-p", "parameters", written);
  for (const std::string& written : overrides.tags) builder.entry("--tag", "tags", written);
  if (overrides.target) builder.assign("--target " + *overrides.target, "target", *overrides.target);
  if (overrides.name) builder.assign("--name " + *overrides.name, "name", *overrides.name);
  if (overrides.experiment) {
    builder.assign("--experiment " + *overrides.experiment, "experiment", *overrides.experiment);
  }
  return builder.take();
}

namespace {

bool is_key(const std::string& word) {
  if (!word.starts_with("--") || word.size() < 3) return false;
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
  };
  return word[2] != '-' && std::all_of(word.begin() + 2, word.end(), plain);
}

bool is_value(const std::string& word) {
  if (!word.starts_with('-')) return true;
  return word.size() > 1 && parse_scalar(word).is_number();
}

/// true, false and null would be rendered as flags, so they stay text here.
Json value_of(const std::string& text) {
  const Json parsed = parse_scalar(text);
  return parsed.is_number() ? parsed : Json(text);
}

/// Said again later: argparse takes the last one, so nothing true can be recorded of it.
bool is_repeated(const std::vector<std::string>& arguments, std::size_t at, const std::string& key) {
  return std::any_of(arguments.begin() + static_cast<std::ptrdiff_t>(at) + 1, arguments.end(),
                     [&](const std::string& word) { return word == key || word.starts_with(key + "="); });
}

/// The value of the option at `at`, written as "--key value …", and how many words it takes with its key; 0 words when
/// it cannot be told. Several numbers are a list; of several texts only the last option of the line is understood,
/// whose first is its value and the rest stand for themselves.
std::pair<Json, std::size_t> spaced_value(const std::vector<std::string>& arguments, std::size_t at) {
  std::size_t end = at + 1;
  while (end < arguments.size() && is_value(arguments[end])) ++end;
  const std::size_t count = end - at - 1;
  if (count == 0) return {true, 1};
  if (count == 1) return {value_of(arguments[at + 1]), 2};
  Json list = Json::array();
  for (std::size_t i = at + 1; i < end; ++i) list.push_back(value_of(arguments[i]));
  if (std::all_of(list.begin(), list.end(), [](const Json& value) { return value.is_number(); })) {
    return {std::move(list), count + 1};
  }
  if (end < arguments.size()) return {nullptr, 0};
  return {value_of(arguments[at + 1]), 2};
}

}  // namespace

ScriptArguments split_script_arguments(const std::vector<std::string>& arguments) {
  ScriptArguments split;
  const bool equals_style = !arguments.empty() && arguments.front().find('=') != std::string::npos;
  if (equals_style) split.style = "--k=v";
  std::size_t i = 0;
  while (i < arguments.size()) {
    const std::string& word = arguments[i];
    const std::size_t equals = word.find('=');
    const std::string key = equals_style ? word.substr(0, equals) : word;
    if (!is_key(key) || is_repeated(arguments, i, key)) break;
    if (equals_style) {
      split.parameters[key.substr(2)] = equals == std::string::npos ? Json(true) : value_of(word.substr(equals + 1));
      ++i;
      continue;
    }
    auto [value, words] = spaced_value(arguments, i);
    if (words == 0) break;
    split.parameters[key.substr(2)] = std::move(value);
    i += words;
  }
  split.rest.assign(arguments.begin() + static_cast<std::ptrdiff_t>(i), arguments.end());
  if (split.parameters.empty()) split.style = "--k v";
  return split;
}

}  // namespace trainctl::spec
