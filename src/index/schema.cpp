// SPDX-License-Identifier: Apache-2.0
#include "index/schema.hpp"

#include <cstdint>
#include <string>

#include "index/sqlite.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {
namespace {

constexpr std::int64_t kApplicationId = 0x74724354;  // "trCT"

// runs.key is the time of the ULID in ms, shifted, with random bits of the ULID below: newest first is key order, and
// the same run has the same key after a rebuild, so page tokens stay good. Rows of runs are kept narrow; what only a
// shown page needs is in details. Times are microseconds since 1970. names holds the names of metrics, parameters and
// tags.
constexpr const char* kTables = R"sql(
CREATE TABLE runs(
  key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, visible INTEGER NOT NULL, terminal INTEGER NOT NULL,
  name TEXT NOT NULL, base_name TEXT NOT NULL, state TEXT NOT NULL, cause TEXT, exit_code INTEGER,
  experiment TEXT, target TEXT, user TEXT, host TEXT, client_version TEXT, parent TEXT, run_group TEXT,
  created INTEGER NOT NULL, started INTEGER, ended INTEGER, took INTEGER, attempts INTEGER NOT NULL, signature TEXT NOT NULL);
CREATE TABLE details(
  run INTEGER PRIMARY KEY, message TEXT, parameters TEXT NOT NULL, tags TEXT NOT NULL, primary_metric TEXT, goal TEXT);
CREATE TABLE names(key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE metrics(
  run INTEGER NOT NULL, name INTEGER NOT NULL, last REAL, best REAL, lowest REAL, highest REAL, step INTEGER,
  points INTEGER NOT NULL, last_at INTEGER NOT NULL, source TEXT NOT NULL, rank INTEGER NOT NULL,
  PRIMARY KEY(run, name)) WITHOUT ROWID;
CREATE TABLE parameters(
  run INTEGER NOT NULL, name INTEGER NOT NULL, number REAL, text TEXT NOT NULL, PRIMARY KEY(run, name)) WITHOUT ROWID;
CREATE TABLE tags(run INTEGER NOT NULL, name INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY(run, name)) WITHOUT ROWID;
CREATE TABLE files(run INTEGER NOT NULL, path TEXT NOT NULL, ingested INTEGER NOT NULL, PRIMARY KEY(run, path)) WITHOUT ROWID;
CREATE TABLE progress(
  one INTEGER PRIMARY KEY CHECK(one = 1), highest TEXT NOT NULL, known INTEGER NOT NULL, digest INTEGER NOT NULL,
  folder_mtime INTEGER NOT NULL, sweep_key INTEGER NOT NULL, sweep_began INTEGER NOT NULL);
INSERT INTO progress VALUES(1, '', 0, 0, 0, 0, 0);
)sql";
constexpr const char* kIndices = R"sql(
CREATE INDEX IF NOT EXISTS runs_open ON runs(key) WHERE terminal = 0;
CREATE INDEX IF NOT EXISTS runs_by_state ON runs(state, key);
CREATE INDEX IF NOT EXISTS runs_by_name ON runs(base_name, key);
CREATE INDEX IF NOT EXISTS runs_by_experiment ON runs(experiment, key) WHERE experiment IS NOT NULL;
CREATE INDEX IF NOT EXISTS metrics_by_last ON metrics(name, last, run);
CREATE INDEX IF NOT EXISTS metrics_by_best ON metrics(name, best, run);
CREATE INDEX IF NOT EXISTS parameters_by_number ON parameters(name, number, run);
CREATE INDEX IF NOT EXISTS tags_by_text ON tags(name, text, run);
)sql";
constexpr const char* kDropIndices = R"sql(
DROP INDEX IF EXISTS runs_open;
DROP INDEX IF EXISTS runs_by_state;
DROP INDEX IF EXISTS runs_by_name;
DROP INDEX IF EXISTS runs_by_experiment;
DROP INDEX IF EXISTS metrics_by_last;
DROP INDEX IF EXISTS metrics_by_best;
DROP INDEX IF EXISTS parameters_by_number;
DROP INDEX IF EXISTS tags_by_text;
)sql";

}  // namespace

Result<> configure_writer(Database& database, bool wal) {
  TRY(database.execute(wal ? "PRAGMA journal_mode=WAL" : "PRAGMA journal_mode=DELETE"));
  TRY(
      database.execute("PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-16000; "
                       "PRAGMA temp_store=MEMORY"));
  return {};
}

Result<> create_schema(Database& database) {
  TRY(database.execute("BEGIN IMMEDIATE"));
  TRY(database.execute(kTables));
  TRY(database.execute(kIndices));
  TRY(database.execute(("PRAGMA application_id=" + std::to_string(kApplicationId)).c_str()));
  TRY(database.execute(("PRAGMA user_version=" + std::to_string(kSchemaVersion)).c_str()));
  return database.execute("COMMIT");
}

Result<> create_indices(Database& database) {
  return database.execute(kIndices);
}

Result<> drop_indices(Database& database) {
  return database.execute(kDropIndices);
}

Result<bool> schema_is_current(Database& database) {
  TRY_ASSIGN(const std::int64_t application, database.integer("PRAGMA application_id"));
  TRY_ASSIGN(const std::int64_t version, database.integer("PRAGMA user_version"));
  if (application != kApplicationId || version != kSchemaVersion) return false;
  auto row = database.integer("SELECT one FROM progress");
  return row && *row == 1;
}

}  // namespace trainctl::index
