// SPDX-License-Identifier: Apache-2.0
#include "index/condition.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.hpp"
#include "base/number.hpp"
#include "base/text.hpp"
#include "format/metric.hpp"
#include "format/state.hpp"
#include "index/field.hpp"
#include "index/query.hpp"
#include "index/run_record.hpp"
#include "index/sqlite.hpp"
#include "index/where.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {
namespace {

bool is_order(Compare compare) {
  return compare == Compare::less || compare == Compare::less_equal || compare == Compare::greater ||
         compare == Compare::greater_equal;
}

bool is_glob(Compare compare) {
  return compare == Compare::glob || compare == Compare::not_glob;
}

std::string_view sql_operator(Compare compare) {
  if (compare == Compare::equal) return "=";
  if (compare == Compare::glob) return " GLOB ";
  return to_string(compare);
}

class Compiler {
 public:
  Compiler(Database& database, const RunQuery& query, const Field* joined)
      : database_(database), query_(query), joined_(joined), now_(query.now.time_since_epoch().count()) {}

  /// `top`: every row that matches makes this part true.
  Result<Sql> compile(const Where& where, bool top) {
    switch (where.kind) {
      case Where::Kind::all:
        return combine(where, " AND ", top);
      case Where::Kind::any:
        return combine(where, " OR ", false);
      case Where::Kind::negation: {
        // A missing value makes a comparison false, so its negation is true: the rest of the runs, none left out.
        TRY_ASSIGN(const Sql inner, compile(where.children.front(), false));
        return Sql{"NOT coalesce(", {}}.add(inner).add(",0)");
      }
      case Where::Kind::comparison:
        break;
    }
    return comparison(where, top);
  }

  Condition result;

 private:
  Result<Sql> combine(const Where& where, std::string_view between, bool top) {
    Sql sql{"(", {}};
    bool first = true;
    for (const Where& child : where.children) {
      TRY_ASSIGN(const Sql part, compile(child, top));
      sql.add(std::exchange(first, false) ? "" : between).add(part);
    }
    return sql.add(")");
  }

  Result<Sql> comparison(const Where& where, bool top) {
    TRY_ASSIGN(const Field field, resolve_field(database_, where.field, "--where"));
    if (!field.note.empty()) result.notes.push_back(field.note);
    if (!where.value.quoted && base::to_lower(where.value.text) == "null") return null_test(field, where, top);
    TRY_ASSIGN(const Value value, to_value(field, where));
    const bool number = !std::holds_alternative<std::string>(value);
    const bool use_joined =
        joined_ != nullptr && same_field(field, *joined_) && (field.source == Field::Source::metric || number);
    const Sql left = use_joined ? joined_sql() : left_side(field, number);
    if (top && where.compare != Compare::unequal && where.compare != Compare::not_glob) {
      add_driver(field, where.compare, value);
      result.needs_joined = result.needs_joined || use_joined;
    }
    if (field.source == Field::Source::column && field.column->name == "created" && is_order(where.compare)) {
      return created(where.compare, std::get<std::int64_t>(value));
    }
    return compared(left, where.compare, value);
  }

  static Sql compared(const Sql& left, Compare compare, const Value& value) {
    Sql sql{"(", {}};
    if (compare == Compare::unequal) return sql.add(left).add(" IS NOT ").bind(value).add(")");
    if (compare == Compare::not_glob) return sql.add("NOT coalesce(").add(left).add(" GLOB ").bind(value).add(",0))");
    return sql.add(left).add(sql_operator(compare)).bind(value).add(")");
  }

  Result<Sql> null_test(const Field& field, const Where& where, bool top) {
    if (where.compare != Compare::equal && where.compare != Compare::unequal) {
      return where_error("null is only compared with = or !=", where.value.column);
    }
    const bool wanted = where.compare == Compare::unequal;
    if (top && wanted && joined_ != nullptr && same_field(field, *joined_)) result.needs_joined = true;
    return Sql{"(", {}}.add(field_sql(field, now_)).add(wanted ? " IS NOT NULL)" : " IS NULL)");
  }

  [[nodiscard]] Sql joined_sql() const {
    if (joined_->source == Field::Source::parameter) return Sql{"m.number", {}};
    return Sql{"m.", {}}.add(aspect_sql(joined_->aspect));
  }

  [[nodiscard]] Sql left_side(const Field& field, bool number) const {
    if (field.source != Field::Source::parameter) return field_sql(field, now_);
    Sql sql{"(SELECT x.", {}};
    sql.add(number ? "number" : "text").add(" FROM parameters x WHERE x.run=r.key AND x.name=");
    return sql.bind(field.name_key).add(")");
  }

  /// Keys are times: a range of them needs no look at the rows.
  static Sql created(Compare compare, std::int64_t us) {
    // "later than" a moment of microseconds may begin within its millisecond.
    Sql sql{"(r.key", {}};
    return sql.add(to_string(compare)).bind(key_at(us)).add(")");
  }

  Result<Value> to_value(const Field& field, const Where& where) {
    const std::string& text = where.value.text;
    const std::size_t at = where.value.column;
    const auto number = base::parse_number(text);
    switch (field.source) {
      case Field::Source::metric:
        if (is_glob(where.compare)) return where_error("~ compares text, a metric is a number", at);
        if (number) return Value(*number);
        if (const auto special = format::parse_special_number(text); special && !std::isnan(*special))
          return Value(*special);
        return where_error("expected a number, found \"" + text + "\"", at);
      case Field::Source::parameter:
        if (number && !where.value.quoted && !is_glob(where.compare)) return Value(*number);
        return Value(text);
      case Field::Source::tag:
        return Value(text);
      case Field::Source::column:
        break;
    }
    return column_value(*field.column, where);
  }

  Result<Value> column_value(const Column& column, const Where& where) {
    const std::string& text = where.value.text;
    const std::size_t at = where.value.column;
    const auto number = base::parse_number(text);
    if (column.kind == Kind::text) return Value(text);
    if (column.kind == Kind::state) return state_value(where);
    if (is_glob(where.compare)) return where_error("~ compares text, " + std::string(column.name) + " is none", at);
    if (column.kind == Kind::number) {
      if (number) return Value(*number);
      return where_error("expected a number, found \"" + text + "\"", at);
    }
    if (column.kind == Kind::duration) {
      if (number) return Value(static_cast<std::int64_t>(std::clamp(*number, -1e12, 1e12) * 1e6));
      const auto duration = base::parse_duration(text);
      if (!duration)
        return where_error("expected a duration, found \"" + text + "\"", at, "for example 90s, 10m, 2h, 7d");
      return Value(std::int64_t{duration->count()} * 1000);
    }
    const auto time = read_time(text);
    if (!time) return where_error("expected a time, found \"" + text + "\"", at, "for example 7d (ago) or 2026-11-23");
    return Value(std::int64_t{time->time_since_epoch().count()});
  }

  static Result<Value> state_value(const Where& where) {
    if (is_glob(where.compare) || format::parse_state(where.value.text)) return Value(where.value.text);
    std::vector<std::string_view> names;
    names.reserve(std::size(format::kAllStates));
    for (const format::State state : format::kAllStates) names.push_back(format::to_string(state));
    const auto near = base::suggest(where.value.text, names);
    return where_error("there is no state \"" + where.value.text + "\"", where.value.column,
                       near ? "did you mean " + *near + "?" : "trainctl help ls lists the states");
  }

  [[nodiscard]] std::optional<base::WallTime> read_time(std::string_view text) const {
    if (query_.parse_time) {
      const auto time = query_.parse_time(text);
      return time ? std::optional(*time) : std::nullopt;
    }
    if (const auto duration = base::parse_duration(text)) return query_.now - *duration;
    return base::parse_utc(text);
  }

  void add_driver(const Field& field, Compare compare, const Value& value) {
    if (is_glob(compare)) return;
    const std::string_view op = sql_operator(compare);
    Sql sql;
    if (field.source == Field::Source::metric) {
      if (field.aspect != Aspect::last && field.aspect != Aspect::best) return;
      sql.add("SELECT run FROM metrics WHERE name=").bind(field.name_key).add(" AND ").add(aspect_sql(field.aspect));
    } else if (field.source == Field::Source::parameter) {
      if (std::holds_alternative<std::string>(value)) return;
      sql.add("SELECT run FROM parameters WHERE name=").bind(field.name_key).add(" AND number");
    } else if (field.source == Field::Source::tag) {
      sql.add("SELECT run FROM tags WHERE name=").bind(field.name_key).add(" AND text");
    } else if (compare == Compare::equal && (field.column->name == "state" || field.column->name == "base_name" ||
                                             field.column->name == "experiment")) {
      sql.add("SELECT key AS run FROM runs WHERE ").add(field.column->name);
    } else {
      return;
    }
    result.drivers.push_back(sql.add(op).bind(value));
  }

  Database& database_;
  const RunQuery& query_;
  const Field* joined_;
  std::int64_t now_;
};

/// --state and --since.
void add_options(const RunQuery& query, Condition& condition) {
  if (!query.states.empty()) {
    Sql list{"(", {}};
    for (const format::State state : query.states) {
      list.add(list.values.empty() ? "" : ",").bind(std::string(format::to_string(state)));
    }
    list.add(")");
    condition.sql.add(" AND r.state IN ").add(list);
    condition.drivers.push_back(Sql{"SELECT key AS run FROM runs WHERE state IN ", {}}.add(list));
  }
  if (query.since) {
    const std::int64_t key = key_at(query.since->time_since_epoch().count());
    condition.sql.add(" AND r.key>=").bind(key);
    condition.drivers.push_back(Sql{"SELECT key AS run FROM runs WHERE key>=", {}}.bind(key));
  }
}

}  // namespace

bool same_field(const Field& a, const Field& b) {
  if (a.source != b.source) return false;
  if (a.source == Field::Source::column) return a.column == b.column;
  return a.name_key == b.name_key && a.name == b.name && a.aspect == b.aspect;
}

Result<Condition> compile_condition(Database& database, const RunQuery& query, const Field* joined) {
  Compiler compiler(database, query, joined);
  Sql sql{"1", {}};
  if (!base::trim(query.where).empty()) {
    TRY_ASSIGN(const Where where, parse_where(query.where));
    TRY_ASSIGN(sql, compiler.compile(where, true));
  }
  Condition condition = std::move(compiler.result);
  condition.sql = Sql{"r.visible AND ", {}}.add(sql);
  add_options(query, condition);
  return condition;
}

}  // namespace trainctl::index
