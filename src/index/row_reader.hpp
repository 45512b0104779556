// SPDX-License-Identifier: Apache-2.0
// Reads whole rows for the runs of a page.
#pragma once

#include <cstdint>
#include <vector>

#include "index/field.hpp"
#include "index/query.hpp"
#include "index/sqlite.hpp"

namespace trainctl::index {

class RowReader {
 public:
  static Result<RowReader> make(Database& database, const RunQuery& query);
  Result<RunRow> read(std::int64_t key);
  [[nodiscard]] const std::vector<Field>& columns() const { return columns_; }

 private:
  RowReader(Statement run, Statement metrics) : run_(std::move(run)), metrics_(std::move(metrics)) {}
  Statement run_;
  Statement metrics_;
  std::vector<Field> columns_;
  int key_at_ = 1;
};

}  // namespace trainctl::index
