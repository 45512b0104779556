// SPDX-License-Identifier: Apache-2.0
// Pages of runs: filtered, sorted, with a token for the next page (keyset paging: no gaps or repeats while runs are
// added).
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "format/state.hpp"
#include "index/field.hpp"
#include "index/sqlite.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {

struct RunQuery {
  std::vector<format::State> states = {};    ///< empty = all
  std::optional<base::WallTime> since = {};  ///< created then or later
  std::string where = {};                    ///< see index/where.hpp; empty = all
  std::vector<std::string> sort = {};        ///< fields, "-" before one = falling; empty = newest first
  std::vector<std::string> columns = {};     ///< fields whose values go to RunRow::values
  std::size_t limit = 50;
  std::string after = {};   ///< RunPage::next of the page before, same query
  bool count_more = false;  ///< fill RunPage::more
  base::WallTime now = base::wall_now();
  /// Reads a time in the expression; "7d" is seven days ago. Durations and RFC 3339 when unset.
  std::function<Result<base::WallTime>(std::string_view)> parse_time = {};
};

struct RowMetric {
  std::string name;
  double last = 0, best = 0;  ///< may be NaN
  std::optional<std::int64_t> step;
  std::uint64_t points = 0;
};

struct RunRow {
  std::string id, name, experiment, target, user, host, client_version, message, primary_metric, goal;
  format::State state = format::State::created;
  std::optional<format::Cause> cause;
  std::optional<std::int64_t> exit_code;
  base::WallTime created = {};
  std::optional<base::WallTime> started, ended;
  std::optional<std::chrono::microseconds> took;  ///< format::RunState::took
  std::int64_t attempts = 0;
  Json parameters = Json::object();
  Json tags = Json::object();
  std::vector<RowMetric> metrics;  ///< sorted by name
  std::vector<Value> values;       ///< of RunQuery::columns
};

struct RunPage {
  std::vector<RunRow> rows;
  std::optional<std::string> next;  ///< opaque; empty = this was the last page
  std::uint64_t more = 0;           ///< rows behind this page, with count_more
  bool more_is_least = false;       ///< there are even more: counting was given up
  std::vector<Field> columns;       ///< as RunQuery::columns
  std::vector<std::string> notes;   ///< about fields no run has
};

Result<RunPage> query_runs(Database& database, const RunQuery& query);

}  // namespace trainctl::index
