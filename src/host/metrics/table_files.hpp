// SPDX-License-Identifier: Apache-2.0
// Metric files that are tables, written anew as they grow: Chainer's "log" and Lightning's metrics.csv.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trainctl::host {

struct TableRow {
  std::optional<std::int64_t> step = {};
  std::vector<std::pair<std::string, double>> values = {};
};

/// LogReport's JSON: an array of objects that have "iteration" or "epoch". The step is the iteration, else the epoch.
/// Empty for any other text, and while the file is being written.
std::vector<TableRow> parse_chainer_log(std::string_view text);

/// CSVLogger's table: a header with "step" or "epoch", then whole lines; empty cells are no values. The step is "step",
/// else "epoch". Empty for any other table.
std::vector<TableRow> parse_metrics_csv(std::string_view text);

}  // namespace trainctl::host
