// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "host/mlflow/tracking.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// MLflow's filter of runs: comparisons joined by "and", like
///   metrics.loss < 0.5 and tags."mlflow.parentRunId" = 'abc' and attributes.status != 'FAILED'
/// with =, !=, <, <=, >, >=. LIKE and IN are refused.
class RunFilter {
 public:
  static Result<RunFilter> parse(std::string_view text);
  [[nodiscard]] bool matches(const TrackedRun& run) const;

 private:
  struct Comparison {
    std::string kind, key, comparator, value;
  };
  static bool holds(const Comparison& comparison, const TrackedRun& run);
  std::vector<Comparison> comparisons_ = {};
};

}  // namespace trainctl::host
