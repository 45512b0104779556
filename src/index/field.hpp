// SPDX-License-Identifier: Apache-2.0
// What a name in --where, --sort or --columns means.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/sqlite.hpp"
#include "index/where.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {

enum class Kind { text, number, time, duration, state };

struct Column {
  std::string_view name;
  Kind kind;
  std::string_view sql;  ///< over the row r of runs
};

/// All columns of runs that a person may name.
std::span<const Column> all_columns();
const Column* find_column(std::string_view name);

enum class Aspect { last, best, lowest, highest, step, points };

struct Field {
  enum class Source { column, metric, parameter, tag };
  Source source = Source::column;
  const Column* column = nullptr;  ///< of Source::column
  std::string name = {};           ///< of the others
  std::int64_t name_key = 0;       ///< their key in `names`; 0 = no run has it
  Aspect aspect = Aspect::last;    ///< of Source::metric
  std::string note = {};           ///< "no run has a metric x, did you mean y", when name_key is 0
};

/// Finds the field in the columns and in what the runs of this index have. A bare name that is nothing is Errc::invalid
/// with "did you mean"; metrics.x, parameters.x and tags.x that no run has (yet) are fine and never match.
Result<Field> resolve_field(Database& database, const FieldText& text, std::string_view option);

/// The column of `metrics` that an aspect is.
std::string_view aspect_sql(Aspect aspect);

/// The value of the field for the row r, NULL when the run has none.
Sql field_sql(const Field& field, std::int64_t now_us);

/// Names of metrics, parameters or tags that occur, sorted.
Result<std::vector<std::string>> known_names(Database& database, Field::Source source);

}  // namespace trainctl::index
