// SPDX-License-Identifier: Apache-2.0
#include "spec/schema.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::spec {

const Field* find_field(const Table& table, std::string_view name) {
  for (const Field& field : table.fields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

const Alias* find_alias(const Table& table, std::string_view name) {
  for (const Alias& alias : table.aliases) {
    if (alias.name == name) return &alias;
  }
  return nullptr;
}

namespace {

std::string folded(std::string_view word) {
  std::string text = base::to_lower(word);
  std::erase_if(text, [](char c) { return c == '-' || c == '_'; });
  return text;
}

std::string known_fields(const Table& table) {
  std::string text;
  for (const Field& field : table.fields) {
    if (field.name.starts_with('$')) continue;
    if (!text.empty()) text += ", ";
    text += field.name;
  }
  return text;
}

Error unknown_path(const Table& table, const std::string& word, std::string_view whole) {
  std::vector<std::string_view> names;
  names.reserve(table.fields.size() + table.aliases.size());
  for (const Field& field : table.fields) names.push_back(field.name);
  for (const Alias& alias : table.aliases) names.push_back(alias.name);
  Error error{.code = Errc::invalid, .message = "there is no field \"" + word + "\" in \"" + std::string(whole) + "\""};
  if (const auto near = base::suggest(word, names)) {
    error.message += ", did you mean \"" + *near + "\"?";
  } else {
    error.hint = "known here: " + known_fields(table);
  }
  return error;
}

}  // namespace

const WordAlias* find_word_alias(const Type& type, std::string_view given) {
  const std::string wanted = folded(given);
  for (const WordAlias& alias : type.word_aliases) {
    if (folded(alias.name) == wanted) return &alias;
  }
  return nullptr;
}

Result<FoundType> find_type(const Table& table, std::string_view dotted_path) {
  FoundType found{.type = std::make_shared<Type>(Type{.kind = Type::Kind::object}), .path = {}};
  const Table* level = &table;
  std::string_view rest = dotted_path;
  while (true) {
    if (found.type->kind == Type::Kind::map) {  // one key may hold dots: parameters.optimizer.lr
      const bool objects = found.type->element->kind == Type::Kind::object;
      const std::size_t dot = objects ? rest.find('.') : std::string_view::npos;
      found.path.emplace_back(rest.substr(0, dot));
      found.type = found.type->element;
      if (found.type->kind == Type::Kind::object) level = &found.type->table();
      if (dot == std::string_view::npos) return found;
      rest.remove_prefix(dot + 1);
      continue;
    }
    if (found.type->kind != Type::Kind::object && found.type->table == nullptr) {
      return fail(Errc::invalid,
                  "\"" + base::join(found.path, ".") + "\" has no fields; it is " + expectation(*found.type));
    }
    const std::size_t dot = rest.find('.');
    const std::string word(rest.substr(0, dot));
    if (const Field* field = find_field(*level, word)) {
      found.type = field->type;
      found.path.push_back(word);
    } else if (const Alias* alias = find_alias(*level, word)) {
      TRY_ASSIGN(FoundType inner, find_type(*level, alias->path));
      found.type = inner.type;
      found.conversion = alias->conversion;
      found.path.insert(found.path.end(), inner.path.begin(), inner.path.end());
    } else {
      return fail(unknown_path(*level, word, dotted_path));
    }
    if (dot == std::string_view::npos) return found;
    rest.remove_prefix(dot + 1);
    if (found.type->table != nullptr) level = &found.type->table();
  }
}

namespace {
std::string bounds(const Type& type) {
  const bool low = type.minimum != std::numeric_limits<std::int64_t>::min();
  const bool high = type.maximum != std::numeric_limits<std::int64_t>::max();
  if (low && high) return " from " + std::to_string(type.minimum) + " to " + std::to_string(type.maximum);
  if (low) return " of at least " + std::to_string(type.minimum);
  return high ? " of at most " + std::to_string(type.maximum) : "";
}

std::string text_expectation(const Type& type) {
  if (type.table != nullptr) return "a text or an object";
  return type.not_empty ? "a text that is not empty" : "text";
}

std::string words_text(const Type& type) {
  std::string text = type.words.size() == 1 ? "" : "one of ";
  for (std::size_t i = 0; i < type.words.size(); ++i) {
    text += (i == 0 ? "\"" : ", \"") + std::string(type.words[i]) + "\"";
  }
  return text;
}
}  // namespace

std::string expectation(const Type& type) {
  switch (type.kind) {
    case Type::Kind::text:
      return text_expectation(type);
    case Type::Kind::integer:
      return "a whole number" + bounds(type);
    case Type::Kind::number:
      return "a number" + bounds(type);
    case Type::Kind::boolean:
      return "true or false";
    case Type::Kind::duration:
      return "a duration such as \"90s\", \"20m\" or \"2h30m\"";
    case Type::Kind::size:
      return "a size such as \"512MB\" or \"4GiB\"";
    case Type::Kind::list:
      return "a list";
    case Type::Kind::map:
    case Type::Kind::object:
      return "an object";
    case Type::Kind::command:
      return "a list of texts, or a text for the shell";
    case Type::Kind::parameter:
      return "a text, a number, true, false, null or a list of these";
    case Type::Kind::any:
      return "a value";
    case Type::Kind::word:
      break;
  }
  return words_text(type);
}

}  // namespace trainctl::spec
