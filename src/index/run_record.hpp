// SPDX-License-Identifier: Apache-2.0
// What the index keeps of a run folder.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {

struct RunRecord {
  std::string id;
  bool visible = false;   ///< false: no readable plan.json yet (or any more)
  bool terminal = false;  ///< will never change again
  std::string name, base_name, experiment, target, user, host, client_version, parent, group;
  format::State state = format::State::created;
  std::optional<format::Cause> cause;
  std::optional<std::int64_t> exit_code;
  std::int64_t created = 0;  ///< us since 1970
  std::optional<std::int64_t> started, ended;
  std::optional<std::int64_t> took;  ///< us, format::RunState::took
  int attempts = 0;
  std::string message;
  Json parameters = Json::object();
  Json tags = Json::object();
  std::string primary_metric, goal;
};

/// Reads plan and state. A folder whose plan is missing or damaged gives an invisible record; after an hour such a
/// folder is left alone for good.
RunRecord read_run_record(const format::RunPaths& run);

/// Changes whenever the files that the state or the metrics of a run come from changed: sizes of append-only files, and
/// times of folders that get new files. Costs a few stat calls.
std::string run_signature(const format::RunPaths& run, int attempt);

/// The key of a run in the tables: milliseconds of its ULID and 21 of its random bits. 0 when `id` is no ULID.
std::int64_t run_key(std::string_view id);
/// The smallest key of runs made at `us` (since 1970) or later.
std::int64_t key_at(std::int64_t us);
/// A hash of one id; their sum identifies a set of ids whatever its order.
std::uint64_t id_digest(std::string_view id);

}  // namespace trainctl::index
