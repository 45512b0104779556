// SPDX-License-Identifier: Apache-2.0
#include "index/field.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/text.hpp"
#include "index/sqlite.hpp"
#include "index/where.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {
namespace {

constexpr std::array<Column, 21> kColumns = {{
    {"id", Kind::text, "r.id"},
    {"name", Kind::text, "r.name"},
    {"base_name", Kind::text, "r.base_name"},
    {"state", Kind::state, "r.state"},
    {"cause", Kind::text, "r.cause"},
    {"exit_code", Kind::number, "r.exit_code"},
    {"experiment", Kind::text, "r.experiment"},
    {"target", Kind::text, "r.target"},
    {"user", Kind::text, "r.user"},
    {"host", Kind::text, "r.host"},
    {"client_version", Kind::text, "r.client_version"},
    {"parent", Kind::text, "r.parent"},
    {"group", Kind::text, "r.run_group"},
    {"created", Kind::time, "r.created"},
    {"started", Kind::time, "r.started"},
    {"ended", Kind::time, "r.ended"},
    {"duration", Kind::duration, ""},
    {"attempts", Kind::number, "r.attempts"},
    {"message", Kind::text, "(SELECT d.message FROM details d WHERE d.run=r.key)"},
    {"parameters", Kind::text, "(SELECT d.parameters FROM details d WHERE d.run=r.key)"},
    {"tags", Kind::text, "(SELECT d.tags FROM details d WHERE d.run=r.key)"},
}};

constexpr std::array<std::pair<std::string_view, Aspect>, 8> kAspects = {{{"last", Aspect::last},
                                                                          {"best", Aspect::best},
                                                                          {"min", Aspect::lowest},
                                                                          {"lowest", Aspect::lowest},
                                                                          {"max", Aspect::highest},
                                                                          {"highest", Aspect::highest},
                                                                          {"step", Aspect::step},
                                                                          {"points", Aspect::points}}};

std::optional<Field::Source> source_of(std::string_view word) {
  if (word == "metrics" || word == "metric") return Field::Source::metric;
  if (word == "parameters" || word == "parameter" || word == "params") return Field::Source::parameter;
  if (word == "tags" || word == "tag") return Field::Source::tag;
  return std::nullopt;
}

std::string_view table_of(Field::Source source) {
  if (source == Field::Source::metric) return "metrics";
  return source == Field::Source::parameter ? "parameters" : "tags";
}

/// The key of a name that occurs in the source's table; 0 when none does.
Result<std::int64_t> key_of(Database& database, Field::Source source, const std::string& name) {
  Sql sql;
  sql.add("SELECT n.key FROM names n WHERE n.name=").bind(name);
  sql.add(" AND EXISTS(SELECT 1 FROM ").add(table_of(source)).add(" t WHERE t.name=n.key)");
  TRY_ASSIGN(const Value key, database.scalar(sql));
  const auto* number = std::get_if<std::int64_t>(&key);
  return number == nullptr ? 0 : *number;
}

/// The field `name` of a source, where the last part of the name may be an aspect of a metric.
Result<Field> named(Database& database, Field::Source source, const FieldText& text, std::size_t from) {
  Field field;
  field.source = source;
  field.name = text.joined(from);
  TRY_ASSIGN(field.name_key, key_of(database, source, field.name));
  if (field.name_key != 0 || source != Field::Source::metric || text.parts.size() < from + 2) return field;
  for (const auto& [word, aspect] : kAspects) {
    if (text.parts.back() != word) continue;
    FieldText shorter = text;
    shorter.parts.pop_back();
    field.name = shorter.joined(from);
    field.aspect = aspect;
    TRY_ASSIGN(field.name_key, key_of(database, source, field.name));
    break;
  }
  return field;
}

Result<> add_note(Database& database, Field& field) {
  if (field.name_key != 0) return {};
  TRY_ASSIGN(const auto names, known_names(database, field.source));
  const std::vector<std::string_view> candidates(names.begin(), names.end());
  const std::string_view word = table_of(field.source);
  field.note = "no run has a " + std::string(word.substr(0, word.size() - 1)) + " \"" + field.name + "\"";
  if (const auto near = base::suggest(field.name, candidates)) field.note += ", did you mean \"" + *near + "\"?";
  return {};
}

Result<std::string> unknown_hint(Database& database, std::string_view name) {
  std::vector<std::string> words;
  words.reserve(std::size(kColumns));
  for (const Column& column : kColumns) words.emplace_back(column.name);
  for (const auto source : {Field::Source::metric, Field::Source::parameter}) {
    TRY_ASSIGN(const auto names, known_names(database, source));
    words.insert(words.end(), names.begin(), names.end());
  }
  for (const char* word : {"metrics", "parameters", "tags"}) words.emplace_back(word);
  const std::vector<std::string_view> candidates(words.begin(), words.end());
  if (const auto near = base::suggest(name, candidates)) return "did you mean \"" + *near + "\"?";
  return std::string("a column (state, name, created, …), metrics.NAME, parameters.NAME or tags.NAME");
}

}  // namespace

std::span<const Column> all_columns() {
  return kColumns;
}

const Column* find_column(std::string_view name) {
  const auto* found = std::find_if(kColumns.begin(), kColumns.end(), [&](const Column& c) { return c.name == name; });
  return found == kColumns.end() ? nullptr : found;
}

Result<std::vector<std::string>> known_names(Database& database, Field::Source source) {
  Sql sql;
  sql.add("SELECT n.name FROM names n WHERE EXISTS(SELECT 1 FROM ").add(table_of(source));
  sql.add(" t WHERE t.name=n.key) ORDER BY n.name");
  TRY_ASSIGN(Statement rows, database.prepare(sql));
  std::vector<std::string> names;
  for (;;) {
    TRY_ASSIGN(const bool row, rows.step());
    if (!row) return names;
    names.emplace_back(rows.text(0));
  }
}

Result<Field> resolve_field(Database& database, const FieldText& text, std::string_view option) {
  const std::string& first = text.parts.front();
  if (text.parts.size() == 1) {
    if (const Column* column = find_column(first)) {
      Field field;
      field.column = column;
      return field;
    }
  }
  if (const auto source = source_of(first); source && text.parts.size() > 1) {
    TRY_ASSIGN(Field field, named(database, *source, text, 1));
    TRY(add_note(database, field));
    return field;
  }
  for (const auto source : {Field::Source::metric, Field::Source::parameter}) {
    TRY_ASSIGN(Field field, named(database, source, text, 0));
    if (field.name_key != 0) return field;
  }
  TRY_ASSIGN(std::string hint, unknown_hint(database, text.parts.size() > 1 ? first : text.joined()));
  return where_error("unknown field \"" + text.joined() + "\"", text.column, std::move(hint), option);
}

std::string_view aspect_sql(Aspect aspect) {
  switch (aspect) {
    case Aspect::last:
      return "last";
    case Aspect::best:
      return "best";
    case Aspect::lowest:
      return "lowest";
    case Aspect::highest:
      return "highest";
    case Aspect::step:
      return "step";
    case Aspect::points:
      return "points";
  }
  return "last";
}

Sql field_sql(const Field& field, std::int64_t now_us) {
  Sql sql;
  switch (field.source) {
    case Field::Source::column:
      if (field.column->kind == Kind::duration) {
        return sql.add("coalesce(r.took,CASE WHEN r.ended IS NULL AND r.terminal=0 THEN ")
            .bind(now_us)
            .add(" ELSE r.ended END - r.started)");
      }
      return sql.add(field.column->sql);
    case Field::Source::metric:
      sql.add("(SELECT x.").add(aspect_sql(field.aspect)).add(" FROM metrics x WHERE x.run=r.key AND x.name=");
      return sql.bind(field.name_key).add(")");
    case Field::Source::parameter:
      sql.add("(SELECT coalesce(x.number,x.text) FROM parameters x WHERE x.run=r.key AND x.name=");
      return sql.bind(field.name_key).add(")");
    case Field::Source::tag:
      return sql.add("(SELECT x.text FROM tags x WHERE x.run=r.key AND x.name=").bind(field.name_key).add(")");
  }
  return sql;
}

}  // namespace trainctl::index
