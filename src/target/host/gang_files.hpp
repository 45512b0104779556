// SPDX-License-Identifier: Apache-2.0
// Which machine of a run on several a file of its folder comes from. Pure.
#pragma once

#include <string_view>
#include <vector>

#include "format/plan.hpp"

namespace trainctl::target {

class GangFiles {
 public:
  explicit GangFiles(const format::Plan& plan);
  [[nodiscard]] int nodes() const { return nodes_; }
  /// Of a path relative to the run folder. What is not a node's own is node 0's: the lead's events, std.log …
  [[nodiscard]] int node_of(std::string_view file) const;

  /// 0 for a rank that the run has not.
  [[nodiscard]] int node_of_rank(int rank) const;

 private:
  int nodes_ = 1;
  std::vector<int> node_of_rank_;
};

}  // namespace trainctl::target
