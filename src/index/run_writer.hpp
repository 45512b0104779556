// SPDX-License-Identifier: Apache-2.0
// Writes runs into the tables. All calls lie inside one of the caller's transactions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "format/metric_summary.hpp"
#include "index/run_record.hpp"
#include "index/sqlite.hpp"

namespace trainctl::index {

class RunWriter {
 public:
  static Result<RunWriter> make(Database& database);

  /// Reads the folder anew and writes what changed. `known_attempt` is the attempt whose metrics are in the tables; its
  /// files are read from where the last ingest ended.
  Result<> ingest(const format::RunPaths& run, std::int64_t known_key, int known_attempt);
  Result<> remove(std::int64_t key);
  /// The key under which `id` is stored; a new one when it is not.
  Result<std::int64_t> key_of(const std::string& id);

 private:
  explicit RunWriter(Database& database) : database_(&database) {}
  Result<Statement*> statement(const char* sql);
  Result<std::int64_t> name_key(std::string_view name);
  Result<> write_run(std::int64_t key, const RunRecord& record, const std::string& signature);
  Result<> write_details(std::int64_t key, const RunRecord& record);
  Result<> write_parameters(std::int64_t key, const Json& parameters);
  Result<> write_tags(std::int64_t key, const Json& tags);
  Result<> ingest_metrics(std::int64_t key, const format::AttemptPaths& attempt, const RunRecord& record,
                          bool from_start);
  Result<> load_metrics(std::int64_t key, format::MetricSummaries& summaries);
  Result<> write_metrics(std::int64_t key, const format::MetricSummaries& summaries, const RunRecord& record);
  Result<> write_logged(std::int64_t key, const format::MetricSummaries& summaries, const RunRecord& record);
  Result<> forget_metrics(std::int64_t key);

  Database* database_;
  std::unordered_map<const char*, Statement> statements_;
  std::unordered_map<std::string, std::int64_t> names_;
};

/// A scalar of JSON as the tables keep it: text as it is, everything else as JSON.
std::string scalar_text(const Json& value);

}  // namespace trainctl::index
