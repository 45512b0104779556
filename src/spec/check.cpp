// SPDX-License-Identifier: Apache-2.0
#include "spec/check.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "base/text.hpp"
#include "spec/layer.hpp"
#include "spec/schema.hpp"
#include "spec/unknown_field.hpp"
#include "trainctl/error.hpp"

namespace trainctl::spec {
namespace {

using Kind = Type::Kind;

/// Where we are: in the document, in the canonical result, and as people write it.
struct Place {
  std::string source;
  std::string pointer;
  std::string field;
  [[nodiscard]] Place child(const std::string& key) const {
    return {base::pointer_append(source, key), base::pointer_append(pointer, key),
            field.empty() ? key : field + "." + key};
  }
};

bool accepts(const Type& type, const Json& value) {
  switch (type.kind) {
    case Kind::text:
    case Kind::word:
      return value.is_string();
    case Kind::boolean:
      return value.is_boolean();
    default:
      return false;
  }
}

class Checker {
 public:
  Checker(const base::LocatedJson& document, const CheckOptions& options, Errors& errors)
      : document_(document), options_(options), errors_(errors) {}

  Layer run(const Type& type, const std::string& field) {
    return collect([&](Json& out) { value(type, document_.value, {"", "", field}, out); });
  }
  Layer run(const Table& table) {
    return collect([&](Json& out) { object(table, document_.value, {}, out); });
  }

 private:
  template <class Body>
  Layer collect(Body body) {
    Layer layer;
    const std::size_t before = errors_.size();
    body(layer.value);
    const auto first = errors_.begin() + static_cast<std::ptrdiff_t>(before);
    std::stable_sort(first, errors_.end(), [](const Error& a, const Error& b) {
      if (!a.at || !b.at) return false;
      return std::pair(a.at->line, a.at->column) < std::pair(b.at->line, b.at->column);
    });
    if (dropped_ > 0) {
      errors_.push_back({.code = Errc::invalid, .message = "and " + std::to_string(dropped_) + " more mistakes"});
    }
    layer.origins = std::move(origins_);
    return layer;
  }

  void object(const Table& table, const Json& in, const Place& place, Json& out) {
    if (!in.is_object()) {
      if (!table.shorthand.empty()) return shorthand(table, in, place, out);
      return mismatch("an object", in, place);
    }
    if (!out.is_object()) out = Json::object();
    for (const auto& [key, item] : in.items()) {  // canonical words first: they win over aliases
      if (const Field* field = find_field(table, key)) {
        const Place inner = place.child(key);
        written_.emplace(inner.pointer, inner.field);
        value(*field->type, item, inner, out[key]);
      }
    }
    for (const auto& [key, item] : in.items()) {
      if (find_field(table, key) != nullptr) continue;
      if (const Alias* found = find_alias(table, key)) {
        alias(table, *found, key, item, place, out);
      } else {
        unknown(table, key, item, place);
      }
    }
    for (const Field& field : table.fields) {
      if (const auto given = in.find(field.name); given != in.end()) imply(field, *given, place, out);
      if (field.required && !out.contains(field.name)) {
        complain(value_position(place), place.child(std::string(field.name)).field,
                 "\"" + std::string(field.name) + "\" is missing");
      }
    }
  }

  /// What a word says about its neighbours ("type": "nccl" is the backend, too).
  void imply(const Field& field, const Json& given, const Place& place, Json& out) {
    if (!given.is_string() || field.type->word_aliases.empty()) return;
    const auto* text = given.get_ptr<const std::string*>();
    const WordAlias* alias = find_word_alias(*field.type, *text);
    if (alias == nullptr || alias->field.empty()) return;
    const auto value = base::parse_json(alias->value);
    if (!value) return;
    Json& slot = out[std::string(alias->field)];
    if (!slot.is_null()) {
      if (!alias->only || slot == *value) return;
      const std::string other = "\"" + std::string(alias->field) + "\": " + base::dump_json(slot);
      return complain(value_position(place.child(std::string(field.name))), place.field,
                      "\"" + *text + "\" and " + other + " contradict each other",
                      "write \"" + std::string(field.name) + "\": \"" + std::string(alias->word) + "\"");
    }
    slot = *value;
    Place inner = place.child(std::string(field.name));
    if (!value_position(inner)) inner.source = place.source;  // the word stands for the whole object
    inner.pointer = base::pointer_append(place.pointer, std::string(alias->field));
    record(inner);
  }

  [[nodiscard]] std::optional<SourcePosition> value_position(const Place& place) const {
    const auto found = document_.positions.values.find(place.source);
    return found == document_.positions.values.end() ? std::nullopt : std::optional(found->second);
  }
  [[nodiscard]] std::optional<SourcePosition> key_position(const Place& place) const {
    const auto found = document_.positions.keys.find(place.source);
    return found == document_.positions.keys.end() ? std::nullopt : std::optional(found->second);
  }

  void complain(std::optional<SourcePosition> at, std::string field, std::string message, std::string hint = {}) {
    if (errors_.size() >= kMaxErrors) {
      ++dropped_;
      return;
    }
    Error error{.code = Errc::invalid, .message = std::move(message)};
    error.at = std::move(at);
    error.field = std::move(field);
    error.hint = std::move(hint);
    errors_.push_back(std::move(error));
  }

  void record(const Place& place, bool replaces = false) {
    if (discarding_ > 0) return;
    Origin origin{.kind = options_.kind, .label = options_.label, .at = value_position(place), .replaces = replaces};
    origins_.insert_or_assign(place.pointer, std::move(origin));
  }

  [[nodiscard]] std::string_view number_text(const Place& place) const {
    const auto found = document_.number_texts.find(place.source);
    return found == document_.number_texts.end() ? std::string_view() : std::string_view(found->second);
  }

  void mismatch(const std::string& expected, const Json& in, const Place& place, std::string hint = {}) {
    complain(value_position(place), place.field,
             "expected " + expected + ", found " + found_text(in, number_text(place)), std::move(hint));
  }

  void value(const Type& type, const Json& in, const Place& place, Json& out) {
    record(place);
    if (in.is_null()) {  // takes a value of a lower layer away
      out = nullptr;
      return;
    }
    switch (type.kind) {
      case Kind::text:
        return text(type, in, place, out);
      case Kind::word:
        return word(type, in, place, out);
      case Kind::integer:
      case Kind::number:
        return number(type, in, place, out);
      case Kind::boolean:
        return boolean(type, in, place, out);
      case Kind::duration:
        return duration(type, in, place, out);
      case Kind::size:
        return size(type, in, place, out);
      case Kind::list:
        return list(type, in, place, out);
      case Kind::map:
        return map(type, in, place, out);
      case Kind::object:
        return object(type.table(), in, place, out);
      case Kind::command:
        return command(type, in, place, out);
      case Kind::parameter:
        return parameter(type, in, place, out);
      case Kind::any:
        out = in;
    }
  }

  void text(const Type& type, const Json& in, const Place& place, Json& out) {
    if (type.from_integer && in.is_number_integer()) {
      out = base::dump_json(in);
      return;
    }
    if (type.table != nullptr && in.is_object()) return object(type.table(), in, place, out);
    if (!in.is_string()) return mismatch(expectation(type), in, place, text_hint(type, in, place));
    const std::string& given = *in.get_ptr<const std::string*>();
    if (type.not_empty && given.empty()) return mismatch(expectation(type), in, place);
    const bool is_path = type.path && (!type.needs_slash || given.find('/') != std::string::npos);
    out = is_path ? rebase_path(given, options_.prefix) : given;
  }

  [[nodiscard]] std::string text_hint(const Type&, const Json& in, const Place& place) const {
    if (!in.is_number() && !in.is_boolean()) return {};
    const std::string_view written = number_text(place);
    std::string hint = "write \"" + (written.empty() ? base::dump_json(in) : std::string(written)) + "\"";
    if (in.is_number() && place.field.ends_with("version")) {
      hint += ": as a number 3.10 would mean 3.1";
    }
    return hint;
  }

  void word(const Type& type, const Json& in, const Place& place, Json& out) {
    if (in.is_string()) {
      const std::string& given = *in.get_ptr<const std::string*>();
      if (std::find(type.words.begin(), type.words.end(), given) != type.words.end()) {
        out = given;
        return;
      }
      if (const WordAlias* alias = find_word_alias(type, given)) {
        out = alias->word;
        return;
      }
      const auto near = base::suggest(given, type.words);
      return mismatch(expectation(type), in, place, near ? "did you mean \"" + *near + "\"?" : "");
    }
    mismatch(expectation(type), in, place);
  }

  void number(const Type& type, const Json& in, const Place& place, Json& out) {
    const bool integral = type.kind == Kind::integer;
    if (integral ? !in.is_number_integer() : !in.is_number()) {
      const bool quoted = in.is_string() && !in.get_ptr<const std::string*>()->empty() &&
                          in.get_ptr<const std::string*>()->find_first_not_of("0123456789") == std::string::npos;
      return mismatch(expectation(type), in, place,
                      quoted ? "write " + *in.get_ptr<const std::string*>() + " without quotes" : "");
    }
    const auto as_double = in.get<double>();
    if (as_double < static_cast<double>(type.minimum) || as_double > static_cast<double>(type.maximum)) {
      return mismatch(expectation(type), in, place);
    }
    if (in.is_number_unsigned() && in.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
      return mismatch(expectation(type), in, place);
    }
    out = in;
  }

  void boolean(const Type& type, const Json& in, const Place& place, Json& out) {
    if (in.is_boolean()) {
      out = in;
      return;
    }
    const bool quoted = in == "true" || in == "false";
    mismatch(expectation(type), in, place, quoted ? "write " + in.get<std::string>() + " without quotes" : "");
  }

  void duration(const Type& type, const Json& in, const Place& place, Json& out) {
    if (in.is_string()) {
      const auto parsed = base::parse_duration(*in.get_ptr<const std::string*>());
      if (parsed && parsed->count() >= 0) {
        out = in;
        return;
      }
    }
    std::string hint;
    if (in.is_number()) hint = "write \"" + base::dump_json(in) + "s\" if seconds are meant";
    mismatch(expectation(type), in, place, std::move(hint));
  }

  void size(const Type& type, const Json& in, const Place& place, Json& out) {
    if (in.is_string() && base::parse_size(*in.get_ptr<const std::string*>())) {
      out = in;
    } else if (in.is_number_unsigned() || (in.is_number_integer() && in.get<std::int64_t>() >= 0)) {
      out = base::dump_json(in);
    } else {
      mismatch(expectation(type), in, place);
    }
  }

  void list(const Type& type, const Json& in, const Place& place, Json& out) {
    if (!in.is_array()) {
      const bool single = in.is_string() || in.is_number();
      return mismatch(expectation(type), in, place, single ? "write [" + base::dump_json(in) + "]" : "");
    }
    out = Json::array();
    if (type.not_empty && in.empty()) return mismatch("a list that is not empty", in, place);
    for (std::size_t i = 0; i < in.size(); ++i) {
      Place inner = place.child(std::to_string(i));
      inner.pointer = base::pointer_append(place.pointer, std::to_string(out.size()));
      inner.field = base::element_of(place.field, i);
      if (in[i].is_null()) {
        mismatch(expectation(*type.element), in[i], inner);
        continue;
      }
      Json item;
      value(*type.element, in[i], inner, item);
      if (!item.is_null()) out.push_back(std::move(item));
    }
  }

  void map(const Type& type, const Json& in, const Place& place, Json& out) {
    if (!in.is_object()) return mismatch(expectation(type), in, place);
    out = Json::object();
    if (in.size() > kMaxEntries) {
      return complain(value_position(place), place.field, "more than " + std::to_string(kMaxEntries) + " entries");
    }
    std::map<std::string, std::string> upper;
    for (const auto& [key, item] : in.items()) {
      const Place inner = place.child(key);
      if (key.empty()) {
        complain(key_position(inner), place.field, "a name may not be empty");
        continue;
      }
      if (type.names) name_rule(key, inner, place, upper);
      written_.emplace(inner.pointer, inner.field);
      value(*type.element, item, inner, out[key]);
    }
  }

  void name_rule(const std::string& key, const Place& inner, const Place& outer,
                 std::map<std::string, std::string>& upper) {
    if (!is_name(key)) {
      complain(key_position(inner), outer.field, "\"" + key.substr(0, 80) + "\" is not a name",
               "a letter, then letters, digits and _, at most 63");
    }
    const auto [other, fresh] = upper.emplace(base::to_upper(key), key);
    if (!fresh) {
      complain(key_position(inner), outer.field,
               "\"" + key + "\" and \"" + other->second + "\" differ only in case; scripts could not tell them apart");
    }
  }

  void command(const Type& type, const Json& in, const Place& place, Json& out) {
    if (in.is_string() && !in.get_ptr<const std::string*>()->empty()) {
      out = in;
      return;
    }
    if (!in.is_array() || in.empty()) return mismatch(expectation(type), in, place);
    list(Type{.kind = Kind::list, .element = std::make_shared<Type>(Type{.kind = Kind::text, .from_integer = true})},
         in, place, out);
  }

  void parameter(const Type& type, const Json& in, const Place& place, Json& out) {
    if (in.is_object()) return mismatch(expectation(type), in, place, "write its fields as parameters of their own");
    if (in.is_array()) {
      for (std::size_t i = 0; i < in.size(); ++i) {
        if (!in[i].is_structured()) continue;
        Place inner = place.child(std::to_string(i));
        inner.field = base::element_of(place.field, i);
        return mismatch("a text, a number, true, false or null", in[i], inner);
      }
    }
    const bool huge = in.is_number_unsigned() && in.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX);
    if (huge) return mismatch("a number within 64 bits", in, place, "write it as text");
    out = in;
  }

  void shorthand(const Table& table, const Json& in, const Place& place, Json& out) {
    const Field* field = find_field(table, table.shorthand);
    if (field == nullptr || !accepts(*field->type, in)) {
      return mismatch(field == nullptr ? "an object" : expectation(*field->type) + " or an object", in, place);
    }
    record(place, true);
    if (!out.is_object()) out = Json::object();
    Place inner = place;
    inner.pointer = base::pointer_append(place.pointer, std::string(table.shorthand));
    written_.emplace(inner.pointer, place.field);
    value(*field->type, in, inner, out[std::string(table.shorthand)]);
    imply(*field, in, place, out);
  }

  void alias(const Table& table, const Alias& found, const std::string& key, const Json& item, const Place& place,
             Json& out) {
    const auto resolved = find_type(table, found.path);
    if (!resolved) return;
    Place inner = place;
    inner.source = base::pointer_append(place.source, key);
    for (const std::string& step : resolved->path) {
      inner.pointer = base::pointer_append(inner.pointer, step);
      inner.field += (inner.field.empty() ? "" : ".") + step;
    }
    const std::string written = place.field.empty() ? key : place.field + "." + key;
    if (const auto [other, fresh] = written_.emplace(inner.pointer, written); !fresh) {
      return complain(key_position(inner), inner.field,
                      "\"" + written + "\" and \"" + other->second + "\" say the same thing",
                      "keep only \"" + inner.field + "\"");
    }
    Json* slot = &out;
    for (const std::string& step : resolved->path) {
      if (!slot->is_object()) *slot = Json::object();
      slot = &(*slot)[step];
    }
    converted(*resolved->type, found.conversion, item, inner, *slot);
  }

  void converted(const Type& type, Conversion conversion, const Json& item, const Place& place, Json& out) {
    if (conversion == Conversion::seconds && item.is_number() && item.get<double>() >= 0) {
      record(place);
      out = base::dump_json(item) + "s";
      return;
    }
    if (conversion == Conversion::script_params && item.is_object()) {
      value(type, item, place, out);
      Json renamed = Json::object();
      for (const auto& [key, given] : out.items()) {  // "--lr": 0.1 is lr; "" as a value is a bare flag
        std::string name = key.starts_with("--") && key.size() > 2 ? key.substr(2) : key;
        const std::string pointer = base::pointer_append(place.pointer, key);
        if (auto node = origins_.extract(pointer); !node.empty()) {
          node.key() = base::pointer_append(place.pointer, name);
          origins_.insert(std::move(node));
        }
        renamed[std::move(name)] = given == "" ? Json(true) : given;
      }
      out = std::move(renamed);
      return;
    }
    value(type, item, place, out);
  }

  /// An unknown field; when it is nearly a known one its contents are checked as that one's.
  void unknown(const Table& table, const std::string& key, const Json& item, const Place& place) {
    Place inner = place;
    inner.source = base::pointer_append(place.source, key);
    UnknownField found = explain_unknown(table, key);
    complain(key_position(inner), place.child(key).field, std::move(found.message), std::move(found.hint));
    if (!found.near) return;
    const auto resolved = find_type(table, *found.near);
    if (!resolved) return;
    for (const std::string& step : resolved->path) inner.field += (inner.field.empty() ? "" : ".") + step;
    ++discarding_;
    auto written = std::exchange(written_, {});
    Json scratch;
    value(*resolved->type, item, inner, scratch);
    written_ = std::move(written);
    --discarding_;
  }

  const base::LocatedJson& document_;
  const CheckOptions& options_;
  Errors& errors_;
  Origins origins_;
  std::map<std::string, std::string> written_;  ///< canonical pointer → how it was written
  int discarding_ = 0;
  std::size_t dropped_ = 0;
};

}  // namespace

Layer check_document(const base::LocatedJson& document, const Table& table, const CheckOptions& options,
                     Errors& errors) {
  Layer layer;
  if (!document.value.is_object()) {
    Error error{.code = Errc::invalid, .message = "expected an object, found " + found_text(document.value)};
    const auto at = document.positions.values.find("");
    if (at != document.positions.values.end()) error.at = at->second;
    error.hint = "write { … } around it";
    errors.push_back(std::move(error));
    return layer;
  }
  return Checker(document, options, errors).run(table);
}

Layer check_value(const Json& value, const Type& type, const std::string& field, const CheckOptions& options,
                  Errors& errors) {
  base::LocatedJson document;
  document.value = value;
  return Checker(document, options, errors).run(type, field);
}

}  // namespace trainctl::spec
