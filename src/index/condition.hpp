// SPDX-License-Identifier: Apache-2.0
// From a where-expression to SQL over the row r of runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "index/field.hpp"
#include "index/query.hpp"
#include "index/sqlite.hpp"
#include "index/where.hpp"

namespace trainctl::index {

struct Condition {
  Sql sql = {"1", {}};            ///< true, false or NULL (= false) for the row r
  std::vector<Sql> drivers = {};  ///< each a "SELECT run …" of all rows that may match: the smallest is a good start
  std::vector<std::string> notes = {};
  bool needs_joined = false;  ///< never true where the joined metric or parameter is missing
};

/// `joined`: this field of the row is at hand as m.<aspect> (a metric) or m.number (a parameter).
Result<Condition> compile_condition(Database& database, const RunQuery& query, const Field* joined);

/// Is it the same metric aspect, parameter or tag?
bool same_field(const Field& a, const Field& b);

}  // namespace trainctl::index
