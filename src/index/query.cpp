// SPDX-License-Identifier: Apache-2.0
#include "index/query.hpp"

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
#include "index/condition.hpp"
#include "index/field.hpp"
#include "index/page_token.hpp"
#include "index/row_reader.hpp"
#include "index/sqlite.hpp"
#include "index/where.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {
namespace {

constexpr std::int64_t kSmall = 3'000;  ///< rows that are sorted faster than an index is walked
constexpr std::int64_t kCountAtMost = 100'000;
constexpr std::uint64_t kCountNs = 10'000'000;

struct SortKey {
  Field field;
  bool falling = false;
};

/// A row of the page before its columns are read.
using Hit = PageToken;

class Query {
 public:
  Query(Database& database, const RunQuery& query) : database_(database), query_(query) {}

  Result<RunPage> run() {
    TRY(read_sort());
    TRY_ASSIGN(condition_, compile_condition(database_, query_, nullptr));
    RunPage page;
    page.notes = condition_.notes;
    if (!query_.after.empty()) {
      TRY_ASSIGN(after_, decode_token(query_.after, query_));
      if (after_->values.size() != sort_.size()) return fail(Errc::invalid, "this `next` belongs to another query");
    }
    TRY_ASSIGN(driver_, smallest_driver());
    TRY_ASSIGN(std::vector<Hit> hits, find());
    if (hits.size() > query_.limit) {
      hits.resize(query_.limit);
      if (!hits.empty()) page.next = encode_token(hits.back(), query_);
    }
    TRY_ASSIGN(RowReader reader, RowReader::make(database_, query_));
    for (const Hit& hit : hits) {
      TRY_ASSIGN(RunRow row, reader.read(hit.key));
      page.rows.push_back(std::move(row));
    }
    page.columns = reader.columns();
    for (const Field& field : page.columns) {
      if (!field.note.empty()) page.notes.push_back(field.note);
    }
    if (page.next && query_.count_more) TRY(count(page));
    return page;
  }

 private:
  Result<> read_sort() {
    for (std::string_view text : query_.sort) {
      SortKey key;
      key.falling = text.starts_with('-');
      if (key.falling || text.starts_with('+')) text.remove_prefix(1);
      TRY_ASSIGN(const FieldText field, parse_field(text, "--sort"));
      TRY_ASSIGN(key.field, resolve_field(database_, field, "--sort"));
      sort_.push_back(std::move(key));
    }
    return {};
  }

  /// Keys are in the order of creation.
  [[nodiscard]] bool by_creation() const {
    return sort_.empty() ||
           (sort_.size() == 1 && sort_[0].field.column != nullptr && sort_[0].field.column->name == "created");
  }
  /// Rows with equal sort values come in this order, so that an index can be walked in either direction.
  [[nodiscard]] bool ties_fall() const { return sort_.empty() || sort_.back().falling; }

  /// Can one index be walked in the order that is asked for?
  [[nodiscard]] bool has_index() const {
    if (sort_.size() != 1) return false;
    const Field& field = sort_[0].field;
    return field.source == Field::Source::metric && (field.aspect == Aspect::last || field.aspect == Aspect::best);
  }

  Result<std::optional<Sql>> smallest_driver() {
    std::optional<Sql> best;
    std::int64_t smallest = kSmall;
    for (const Sql& driver : condition_.drivers) {
      Sql sql{"SELECT count(*) FROM (", {}};
      sql.add(driver).add(" LIMIT ").bind(smallest).add(")");
      TRY_ASSIGN(const Value count, database_.scalar(sql));
      const auto* number = std::get_if<std::int64_t>(&count);
      if (number == nullptr || *number >= smallest) continue;
      smallest = *number;
      best = driver;
    }
    return best;
  }

  [[nodiscard]] Sql from() const {
    Sql sql{" FROM ", {}};
    if (!driver_) return sql.add("runs r");
    // CROSS JOIN keeps SQLite from changing the order of the two.
    return sql.add("(").add(*driver_).add(") d CROSS JOIN runs r ON r.key=d.run");
  }

  Result<std::vector<Hit>> find() {
    if (by_creation()) return find_by_creation();
    if (!driver_ && has_index()) return find_by_index();
    return find_sorted();
  }

  Result<std::vector<Hit>> find_by_creation() {
    Sql sql{"SELECT r.key", {}};
    if (!sort_.empty()) sql.add(",r.key");
    sql.add(from()).add(" WHERE ").add(condition_.sql);
    if (after_) sql.add(ties_fall() ? " AND r.key<" : " AND r.key>").bind(after_->key);
    return fetch(sql.add(" ORDER BY r.key").add(ties_fall() ? " DESC" : "").add(limit()));
  }

  /// Any keys: all matching rows are sorted. Rows without a value come last, rising and falling.
  Result<std::vector<Hit>> find_sorted() {
    Sql sql{"SELECT * FROM (SELECT r.key AS key", {}};
    const std::int64_t now = query_.now.time_since_epoch().count();
    for (std::size_t i = 0; i < sort_.size(); ++i) {
      sql.add(",").add(field_sql(sort_[i].field, now)).add(" AS k" + std::to_string(i));
    }
    sql.add(from()).add(" WHERE ").add(condition_.sql).add(")");
    if (after_) sql.add(" WHERE ").add(behind());
    sql.add(" ORDER BY ");
    for (std::size_t i = 0; i < sort_.size(); ++i) {
      const std::string name = "k" + std::to_string(i);
      sql.add(name).add(" IS NULL,").add(name).add(sort_[i].falling ? " DESC," : ",");
    }
    return fetch(sql.add(ties_fall() ? "key DESC" : "key").add(limit()));
  }

  /// "Comes after the last row of the page before", for find_sorted.
  [[nodiscard]] Sql behind() const {
    Sql any{"(", {}};
    Sql equal;
    for (std::size_t i = 0; i < sort_.size(); ++i) {
      const std::string name = "k" + std::to_string(i);
      const Value& value = after_->values[i];
      if (!std::holds_alternative<std::monostate>(value)) {
        any.add("(").add(equal).add("(" + name + (sort_[i].falling ? "<" : ">")).bind(value);
        any.add(" OR " + name + " IS NULL)) OR ");
      }
      equal.add(name + " IS ").bind(value).add(" AND ");
    }
    return any.add("(").add(equal).add(ties_fall() ? "key<" : "key>").bind(after_->key).add("))");
  }

  /// Walks the index of the metric until the page is full, then the runs that have no value.
  Result<std::vector<Hit>> find_by_index() {
    const Field& field = sort_[0].field;
    const std::string value = "m." + std::string(aspect_sql(field.aspect));
    const std::string_view order = sort_[0].falling ? " DESC" : "";
    TRY_ASSIGN(const Condition joined, compile_condition(database_, query_, &field));
    std::vector<Hit> hits;
    const bool in_values = !after_ || !std::holds_alternative<std::monostate>(after_->values[0]);
    if (in_values) {
      Sql sql{"SELECT m.run,", {}};
      sql.add(value).add(" FROM metrics m CROSS JOIN runs r ON r.key=m.run WHERE m.name=").bind(field.name_key);
      sql.add(" AND ").add(value).add(" IS NOT NULL AND ").add(joined.sql);
      if (after_) {
        sql.add(" AND (").add(value).add(sort_[0].falling ? ",m.run)<(" : ",m.run)>(");
        sql.bind(after_->values[0]).add(",").bind(after_->key).add(")");
      }
      sql.add(" ORDER BY ").add(value).add(order).add(",m.run").add(order).add(limit());
      TRY_ASSIGN(hits, fetch(sql));
    }
    if (hits.size() > query_.limit || joined.needs_joined) return hits;
    Sql sql{"SELECT r.key,NULL FROM runs r WHERE ", {}};
    sql.add(condition_.sql).add(" AND ").add(field_sql(field, 0)).add(" IS NULL");
    if (after_ && !in_values) sql.add(sort_[0].falling ? " AND r.key<" : " AND r.key>").bind(after_->key);
    sql.add(" ORDER BY r.key")
        .add(order)
        .add(" LIMIT ")
        .bind(static_cast<std::int64_t>(query_.limit + 1 - hits.size()));
    TRY_ASSIGN(std::vector<Hit> rest, fetch(sql));
    hits.insert(hits.end(), std::make_move_iterator(rest.begin()), std::make_move_iterator(rest.end()));
    return hits;
  }

  [[nodiscard]] Sql limit() const { return Sql{" LIMIT ", {}}.bind(static_cast<std::int64_t>(query_.limit + 1)); }

  Result<std::vector<Hit>> fetch(const Sql& sql) {
    std::vector<Hit> hits;
    TRY_ASSIGN(Statement rows, database_.prepare(sql));
    for (;;) {
      TRY_ASSIGN(const bool row, rows.step());
      if (!row) return hits;
      Hit hit;
      hit.key = rows.integer(0);
      for (std::size_t i = 0; i < sort_.size(); ++i) hit.values.push_back(rows.value(static_cast<int>(i) + 1));
      hits.push_back(std::move(hit));
    }
  }

  /// How many rows match beyond this page; given up after a while, the number is only for a note.
  Result<> count(RunPage& page) {
    Sql sql{"SELECT count(*) FROM (SELECT 1", {}};
    sql.add(from()).add(" WHERE ").add(condition_.sql).add(" LIMIT ").bind(kCountAtMost).add(")");
    // All runs: an index has their number without a look at the rows. Folders without a plan are too few to matter.
    const bool all_runs = query_.where.empty() && query_.states.empty() && !query_.since;
    if (all_runs) sql = Sql{"SELECT count(*) FROM runs", {}};
    const std::uint64_t deadline = base::mono_ns() + kCountNs;
    database_.interrupt_when([deadline] { return base::mono_ns() > deadline; });
    const auto counted = database_.scalar(sql);
    const bool interrupted = database_.interrupted();
    database_.interrupt_when({});
    if (!counted && !interrupted) return fail(counted.error());
    const auto* number = counted ? std::get_if<std::int64_t>(&*counted) : nullptr;
    const std::uint64_t all = number == nullptr ? 0 : static_cast<std::uint64_t>(*number);
    page.more = all > page.rows.size() ? all - page.rows.size() : 1;
    page.more_is_least = interrupted || (!all_runs && all >= static_cast<std::uint64_t>(kCountAtMost));
    return {};
  }

  Database& database_;
  const RunQuery& query_;
  std::vector<SortKey> sort_;
  Condition condition_;
  std::optional<PageToken> after_;
  std::optional<Sql> driver_;
};

}  // namespace

Result<RunPage> query_runs(Database& database, const RunQuery& query) {
  return Query(database, query).run();
}

}  // namespace trainctl::index
