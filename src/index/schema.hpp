// SPDX-License-Identifier: Apache-2.0
// The tables of the index. There are no migrations: an index of another version is thrown away and made anew.
#pragma once

#include "index/sqlite.hpp"

namespace trainctl::index {

inline constexpr int kSchemaVersion = 4;

/// Sets up a connection that may write. `wal` is false on network file systems.
Result<> configure_writer(Database& database, bool wal);
/// Creates the tables in an empty file.
Result<> create_schema(Database& database);
/// Indices are dropped before very many rows are added (100,000 runs: four times faster) and made again afterwards.
/// Making those that exist already costs nothing, so it is also how a process that died in between is mended.
Result<> create_indices(Database& database);
Result<> drop_indices(Database& database);
/// Is this a whole index of our version?
Result<bool> schema_is_current(Database& database);

}  // namespace trainctl::index
