// SPDX-License-Identifier: Apache-2.0
#include "spec/json_schema.hpp"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "spec/schema.hpp"

namespace trainctl::spec {
namespace {

constexpr const char* kNamePattern = "^[A-Za-z][A-Za-z0-9_]{0,62}$";

Json either(std::initializer_list<Json> variants) {
  Json all = Json::array();
  for (const Json& one : variants) all.push_back(one);
  return Json::object({{"anyOf", std::move(all)}});
}

Json of_type(const char* name) {
  return Json::object({{"type", name}});
}

/// null takes a value of a lower layer away, so it may stand anywhere.
Json nullable(Json schema) {
  if (schema.contains("enum")) {
    schema["enum"].push_back(nullptr);
  } else if (schema.contains("type") && schema["type"].is_string()) {
    schema["type"] = Json::array({schema["type"], "null"});
  } else if (schema.contains("type")) {
    schema["type"].push_back("null");
  } else if (schema.contains("anyOf")) {
    schema["anyOf"].push_back(of_type("null"));
  } else if (!schema.empty()) {
    return either({schema, of_type("null")});
  }
  return schema;
}

void append(Json& to, Json from) {
  for (auto& [key, value] : from.items()) to[key] = std::move(value);
}

class Schema {
 public:
  Json document(const Table& table) {
    Json out = Json::object();
    out["$schema"] = "https://json-schema.org/draft/2020-12/schema";
    out["title"] = "trainctl " + std::string(table.name);
    Json body = object(table);
    append(out, std::move(body));
    // The list grows while its tables are written.
    Json definitions = Json::object();
    for (std::size_t i = 0; i < tables_.size(); ++i) definitions[std::string(tables_[i]->name)] = object(*tables_[i]);
    out["$defs"] = std::move(definitions);
    return out;
  }

 private:
  Json object(const Table& table) {
    Json out = Json::object();
    out["description"] = table.doc;
    out["type"] = "object";
    Json properties = Json::object();
    Json required = Json::array();
    for (const Field& field : table.fields) {
      Json schema = Json::object();
      schema["description"] = field.doc;
      append(schema, nullable(of(*field.type)));
      properties[std::string(field.name)] = std::move(schema);
      if (field.required) required.push_back(field.name);
    }
    for (const Alias& alias : table.aliases) properties[std::string(alias.name)] = of_alias(table, alias);
    out["properties"] = std::move(properties);
    if (!required.empty()) out["required"] = std::move(required);
    out["additionalProperties"] = false;
    return out;
  }

  Json of_alias(const Table& table, const Alias& alias) {
    Json out = Json::object();
    out["description"] = "The same as " + std::string(alias.path) + ".";
    out["deprecated"] = true;
    const auto found = find_type(table, alias.path);
    if (!found) return out;
    Json schema = of(*found->type);
    if (alias.conversion == Conversion::seconds) schema = either({schema, of_type("number")});
    append(out, nullable(std::move(schema)));
    return out;
  }

  Json of(const Type& type) {
    switch (type.kind) {
      case Type::Kind::text:
        return text(type);
      case Type::Kind::word:
        return words(type);
      case Type::Kind::integer:
        return bounded("integer", type);
      case Type::Kind::number:
        return bounded("number", type);
      case Type::Kind::boolean:
        return of_type("boolean");
      case Type::Kind::duration:
        return Json::object({{"type", "string"}, {"examples", Json::array({"90s", "20m", "2h30m"})}});
      case Type::Kind::size:
        return Json::object(
            {{"type", Json::array({"string", "integer"})}, {"examples", Json::array({"512MB", "4GiB"})}});
      case Type::Kind::list:
        return list(type);
      case Type::Kind::map:
        return map(type);
      case Type::Kind::object:
        return reference(type);
      case Type::Kind::command: {
        Json argv = Json::object();
        argv["type"] = "array";
        argv["items"] = Json::object({{"type", Json::array({"string", "integer"})}});
        argv["minItems"] = 1;
        return either({std::move(argv), Json::object({{"type", "string"}, {"minLength", 1}})});
      }
      case Type::Kind::parameter: {
        const Json scalar = Json::object({{"type", Json::array({"string", "number", "boolean", "null"})}});
        return either({scalar, Json::object({{"type", "array"}, {"items", scalar}})});
      }
      case Type::Kind::any:
        break;
    }
    return Json::object();
  }

  static Json words(const Type& type) {
    Json words = Json::array();
    for (const std::string_view word : type.words) words.push_back(word);
    for (const WordAlias& alias : type.word_aliases) {
      if (alias.name != alias.word) words.push_back(alias.name);
    }
    return Json::object({{"enum", std::move(words)}});
  }

  Json list(const Type& type) {
    Json out = Json::object({{"type", "array"}, {"items", of(*type.element)}});
    if (type.not_empty) out["minItems"] = 1;
    return out;
  }

  Json map(const Type& type) {
    Json out = Json::object({{"type", "object"}, {"additionalProperties", nullable(of(*type.element))}});
    if (type.names) out["propertyNames"] = Json::object({{"pattern", kNamePattern}});
    return out;
  }

  Json text(const Type& type) {
    if (type.table != nullptr) {
      Type plain = type;
      plain.table = nullptr;
      return either({text(plain), reference(type)});
    }
    Json out = of_type("string");
    if (type.from_integer) out["type"] = Json::array({"string", "integer"});
    if (type.not_empty) out["minLength"] = 1;
    return out;
  }

  static Json bounded(const char* name, const Type& type) {
    Json out = of_type(name);
    if (type.minimum != std::numeric_limits<std::int64_t>::min()) out["minimum"] = type.minimum;
    if (type.maximum != std::numeric_limits<std::int64_t>::max()) out["maximum"] = type.maximum;
    return out;
  }

  Json reference(const Type& type) {
    const Table& table = type.table();
    bool known = false;
    for (const Table* one : tables_) known = known || one == &table;
    if (!known) tables_.push_back(&table);
    Json out = Json::object({{"$ref", "#/$defs/" + std::string(table.name)}});
    if (table.shorthand.empty()) return out;
    const Field* field = find_field(table, table.shorthand);
    return either({out, of(*field->type)});
  }

  std::vector<const Table*> tables_;
};

std::string table_link(const Table& table) {
  return "[" + std::string(table.name) + "](#" + std::string(table.name) + ")";
}

std::string type_words(const Type& type) {
  switch (type.kind) {
    case Type::Kind::list:
      return "list of " + type_words(*type.element);
    case Type::Kind::map:
      return "object of " + type_words(*type.element);
    case Type::Kind::object: {
      const Table& table = type.table();
      std::string words = table_link(table);
      if (!table.shorthand.empty()) words = type_words(*find_field(table, table.shorthand)->type) + " or " + words;
      return words;
    }
    case Type::Kind::text:
      if (type.table != nullptr) return "text or " + table_link(type.table());
      return type.path && !type.needs_slash ? "path" : "text";
    case Type::Kind::duration:
      return "duration";
    case Type::Kind::size:
      return "size";
    case Type::Kind::parameter:
      return "value";
    case Type::Kind::any:
      return "anything";
    default:
      return expectation(type);
  }
}

const Table* table_below(const Type& type) {
  if (type.table != nullptr) return &type.table();
  return type.element ? table_below(*type.element) : nullptr;
}

void page_section(const Table& table, std::string& out, std::vector<const Table*>& tables) {
  out += "## " + std::string(table.name) + "\n\n" + std::string(table.doc) +
         "\n\n| field | accepts | meaning |\n| --- | --- | --- |\n";
  for (const Field& field : table.fields) {
    out += "| `" + std::string(field.name) + "` | " + type_words(*field.type) + " | " + std::string(field.doc) + " |\n";
    const Table* below = table_below(*field.type);
    if (below == nullptr) continue;
    bool known = false;
    for (const Table* one : tables) known = known || one == below;
    if (!known) tables.push_back(below);
  }
  if (!table.aliases.empty()) {
    out += "\nOther spellings:";
    for (const Alias& alias : table.aliases) {
      out += (&alias == &table.aliases.front() ? " `" : ", `") + std::string(alias.name) + "` (" +
             std::string(alias.path) + ")";
    }
    out += ".\n";
  }
  out += "\n";
}

}  // namespace

std::string json_schema(const Table& table) {
  return base::pretty_json(Schema().document(table));
}

std::string reference_page(const Table& table) {
  std::string out;
  std::vector<const Table*> tables = {&table};
  for (std::size_t i = 0; i < tables.size(); ++i) {
    if (tables[i]->name == "fragment") {
      out += "## fragment\n\nThe fields of a run but type, extends, profiles and on.\n\n";
    } else {
      page_section(*tables[i], out, tables);
    }
  }
  out.pop_back();
  return out;
}

}  // namespace trainctl::spec
