// SPDX-License-Identifier: Apache-2.0
// Whether more or less of a metric is better.
#pragma once

#include <string_view>

namespace trainctl::format {

/// By the name alone: "loss", "error", "mse" … in it: "minimize"; "accuracy", "auc", "f1", "score" …: "maximize"; else
/// empty.
std::string_view guess_goal(std::string_view name);

/// The goal of the metric `name` of a run that states `goal` for its metric `primary`; of all others the name decides.
std::string_view goal_of(std::string_view name, std::string_view primary, std::string_view goal);

}  // namespace trainctl::format
