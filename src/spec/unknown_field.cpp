// SPDX-License-Identifier: Apache-2.0
#include "spec/unknown_field.hpp"

#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "spec/schema.hpp"

namespace trainctl::spec {
namespace {

/// The kind of file in whose schema the table is described.
std::string_view schema_with(const Table& table) {
  if (table.name == "fragment") return "run";
  return table.name == "slurm" || table.name == "compute target" ? "target" : table.name;
}

std::string known(const Table& table) {
  if (table.fields.size() > 12) return "trainctl schema " + std::string(schema_with(table)) + " lists what there is";
  std::string text = "known here: ";
  for (const Field& field : table.fields) {
    text += (&field == &table.fields.front() ? "" : ", ") + std::string(field.name);
  }
  return text;
}

/// "environment.python.packages" for "packages" written one or two levels too high.
std::string find_deeper(const Table& table, const std::string& key, int depth) {
  for (const Field& field : table.fields) {
    if (field.type->kind != Type::Kind::object || depth > 2) continue;
    const Table& inner = field.type->table();
    if (find_field(inner, key) != nullptr) return std::string(field.name) + "." + key;
    if (const std::string deeper = find_deeper(inner, key, depth + 1); !deeper.empty()) {
      return std::string(field.name) + "." + deeper;
    }
  }
  return {};
}

}  // namespace

UnknownField explain_unknown(const Table& table, const std::string& key) {
  std::vector<std::string_view> names;
  names.reserve(table.fields.size() + table.aliases.size());
  for (const Field& field : table.fields) names.push_back(field.name);
  for (const Alias& one : table.aliases) names.push_back(one.name);
  UnknownField found{.message = "unknown field \"" + key.substr(0, 80) + "\"", .hint = {}};
  found.near = base::suggest(key, names);
  const std::string deeper = find_deeper(table, key, 0);
  if (!deeper.empty() && (!found.near || find_field(table, *found.near) == nullptr))
    found.near = deeper;  // "packages" is not an alias's typo
  if (found.near) {
    const Alias* alias = find_alias(table, *found.near);  // errors speak the canonical words
    found.message += ", did you mean \"" + (alias == nullptr ? *found.near : std::string(alias->path)) + "\"?";
  } else {
    found.hint = known(table);
  }
  return found;
}

}  // namespace trainctl::spec
