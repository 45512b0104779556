// SPDX-License-Identifier: Apache-2.0
#include "index/row_reader.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "format/state.hpp"
#include "index/field.hpp"
#include "index/query.hpp"
#include "index/sqlite.hpp"
#include "index/where.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {
namespace {

constexpr const char* kRun =
    "SELECT r.id,r.name,r.experiment,r.target,r.user,r.host,r.client_version,r.state,r.cause,r.exit_code,r.created,"
    "r.started,r.ended,r.attempts,d.message,d.parameters,d.tags,d.primary_metric,d.goal,r.took";
constexpr int kFirstValue = 20;
constexpr const char* kMetrics =
    "SELECT n.name,m.last,m.best,m.step,m.points FROM metrics m JOIN names n ON n.key=m.name WHERE m.run=?1 ORDER BY "
    "n.name";

base::WallTime time_at(const Statement& row, int column) {
  return base::WallTime(std::chrono::microseconds(row.integer(column)));
}

Json object_at(const Statement& row, int column) {
  auto json = base::parse_json(row.text(column));
  return json && json->is_object() ? std::move(*json) : Json::object();
}

RunRow read_row(const Statement& at) {
  RunRow row;
  row.id = at.text(0);
  row.name = at.text(1);
  row.experiment = at.text(2);
  row.target = at.text(3);
  row.user = at.text(4);
  row.host = at.text(5);
  row.client_version = at.text(6);
  row.state = format::parse_state(at.text(7)).value_or(format::State::created);
  row.cause = format::parse_cause(at.text(8));
  if (!at.is_null(9)) row.exit_code = at.integer(9);
  row.created = time_at(at, 10);
  if (!at.is_null(11)) row.started = time_at(at, 11);
  if (!at.is_null(12)) row.ended = time_at(at, 12);
  row.attempts = at.integer(13);
  row.message = at.text(14);
  row.parameters = object_at(at, 15);
  row.tags = object_at(at, 16);
  row.primary_metric = at.text(17);
  row.goal = at.text(18);
  if (!at.is_null(19)) row.took = std::chrono::microseconds(at.integer(19));
  return row;
}

}  // namespace

Result<RowReader> RowReader::make(Database& database, const RunQuery& query) {
  std::vector<Field> columns;
  Sql sql{kRun, {}};
  for (const std::string& text : query.columns) {
    TRY_ASSIGN(const FieldText field, parse_field(text, "--columns"));
    TRY_ASSIGN(Field column, resolve_field(database, field, "--columns"));
    sql.add(",").add(field_sql(column, query.now.time_since_epoch().count()));
    columns.push_back(std::move(column));
  }
  const int key_at = static_cast<int>(sql.values.size()) + 1;
  sql.add(" FROM runs r LEFT JOIN details d ON d.run=r.key WHERE r.key=?");
  TRY_ASSIGN(Statement run, database.prepare(sql));
  TRY_ASSIGN(Statement metrics, database.prepare(std::string_view(kMetrics)));
  RowReader reader(std::move(run), std::move(metrics));
  reader.columns_ = std::move(columns);
  reader.key_at_ = key_at;
  return reader;
}

Result<RunRow> RowReader::read(std::int64_t key) {
  run_.reset();
  TRY_ASSIGN(const bool there, run_.bind(key_at_, key).step());
  if (!there) return RunRow{};
  RunRow row = read_row(run_);
  for (std::size_t i = 0; i < columns_.size(); ++i) row.values.push_back(run_.value(kFirstValue + static_cast<int>(i)));
  metrics_.reset();
  metrics_.bind(1, key);
  for (;;) {
    TRY_ASSIGN(const bool more, metrics_.step());
    if (!more) break;
    // SQLite keeps a NaN as NULL; a metric without any value has no row.
    const auto number_at = [&](int column) {
      return metrics_.is_null(column) ? std::numeric_limits<double>::quiet_NaN() : metrics_.real(column);
    };
    RowMetric metric{.name = std::string(metrics_.text(0)), .last = number_at(1), .best = number_at(2), .step = {}};
    if (!metrics_.is_null(3)) metric.step = metrics_.integer(3);
    metric.points = static_cast<std::uint64_t>(metrics_.integer(4));
    row.metrics.push_back(std::move(metric));
  }
  run_.reset();
  return row;
}

}  // namespace trainctl::index
