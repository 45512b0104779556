// SPDX-License-Identifier: Apache-2.0
// Runs as a table that fits the terminal, or as CSV.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "cli/output.hpp"
#include "index/query.hpp"

namespace trainctl::cli {

struct TableCell {
  std::string text;
  Style style = Style::plain;
};

struct TableColumn {
  std::string title;
  int rank = 0;               ///< columns of the highest rank are left out first; 0 always stays
  std::size_t narrowest = 0;  ///< may be cut to this many cells; 0 = never cut
  bool right = false;         ///< numbers stand at the right
};

/// Header and rows. Where `width` is > 0 the wide columns are cut and then the least important ones are left out until
/// it fits; 0 = everything, whole. Empty columns of rank > 0 are left out.
std::string table_text(const Stream& out, std::span<const TableColumn> columns,
                       std::span<const std::vector<TableCell>> rows, std::size_t width);

/// The table of `ls`. With `page.columns` exactly those, else the usual ones and what was sorted by.
/// Behind the state of a run elsewhere stands how old it is.
std::string run_table(const Context& context, const archive::Store& store, const index::RunPage& page,
                      base::WallTime now);
/// RFC 4180 with a header. Without `page.columns`: the fixed columns, then all parameters and metrics of the rows.
std::string run_csv(const index::RunPage& page, std::span<const std::string> titles);

/// One field of CSV, quoted where it must be.
std::string csv_field(std::string_view text);
/// A number with all its digits; NaN as "NaN".
std::string exact_number(double value);

}  // namespace trainctl::cli
