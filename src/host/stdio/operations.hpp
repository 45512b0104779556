// SPDX-License-Identifier: Apache-2.0
// The operations of the runner protocol (docs/runner-protocol.md). Each takes the request object as it came.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

namespace slurm {
class Poller;
}

struct StdioContext {
  std::filesystem::path store;
  std::string carrying_key = {};  ///< told in the hello (host/stdio/carried.hpp)
  /// Starts the supervisor of a run folder (host/supervise.hpp: spawn_supervisor). Unset: no "launch".
  std::function<Result<>(const std::filesystem::path& run_dir)> start;
  /// Takes up a run that was started and that nothing supervises any more (host/adoption.hpp). Unset: no "adopt".
  std::function<Result<>(const format::RunPaths& run)> adopt = {};
  /// Starts the supervisor of one node of a run on several machines; returns when it listens or has reached node 0.
  /// Unset: no "prepare" and "go".
  std::function<Result<>(const format::RunPaths& run)> start_node = {};
  /// Hears of control requests that were written, by their type (host/launchers/launcher.hpp: request_written).
  std::function<Result<>(const format::RunPaths& run, std::string_view type)> requested = {};
  /// Asks the batch system for all watches of this process; unset: nobody asks.
  std::shared_ptr<slurm::Poller> poller = {};
};

/// What a stream gives next: a note, bytes after it, or the end.
struct Piece {
  Json note = nullptr;
  std::string bytes = {};
  Json end = nullptr;
};

/// An open stream of data.
class Source {
 public:
  virtual ~Source() = default;
  /// At most `max_bytes` of data; empty when there is nothing now.
  virtual Result<std::optional<Piece>> next(std::size_t max_bytes) = 0;
  /// Readable when look() would find something; -1 = none.
  [[nodiscard]] virtual int fd() const { return -1; }
  /// Call look() after so long at the latest; -1 = never.
  [[nodiscard]] virtual int wait_ms() const { return -1; }
  virtual void look() {}
};

/// The operations this runner offers, as in its hello.
Json offered_operations(const StdioContext& context);

Result<Json> operate_probe(const StdioContext& context, const Json& request);
Result<Json> operate_find(const StdioContext& context, const Json& request);
Result<Json> operate_launch(const StdioContext& context, const Json& request);
Result<Json> operate_prepare(const StdioContext& context, const Json& request);
Result<Json> operate_go(const StdioContext& context, const Json& request);
Result<Json> operate_missing(const StdioContext& context, const Json& request);
Result<Json> operate_adopt(const StdioContext& context, const Json& request);
Result<Json> operate_runs(const StdioContext& context, const Json& request);
Result<Json> operate_remove(const StdioContext& context, const Json& request);
Result<Json> operate_clean(const StdioContext& context, const Json& request);
Result<Json> operate_enter(const StdioContext& context, const Json& request);
Result<Json> operate_ping(const StdioContext& context, const Json& request);
Result<Json> operate_request(const StdioContext& context, const Json& request);
Result<std::unique_ptr<Source>> operate_watch(const StdioContext& context, const Json& request);
Result<std::unique_ptr<Source>> operate_fetch(const StdioContext& context, const Json& request);

/// {"run","found":true,"state",…}: what find, launch, adopt and runs say of a run.
Json state_json(const std::string& run, const format::RunState& state);
/// Makes the run folder and its plan durable. False when the same plan was there already; Errc::invalid for another.
Result<bool> keep_plan(const format::RunPaths& run, const Json& plan);
/// Secret values of the run, beside it and never in it; the supervisor removes them before it writes the end.
Result<> keep_secrets(const StdioContext& context, const std::string& id, const Json& request);

/// {"code","message","hint","retryable"} plus the context.
Json error_json(const Error& error);

/// A member that must be a text; Errc::invalid names it.
Result<std::string> text_member(const Json& request, const char* key);
/// A member that must be the ULID of a run: nothing else becomes part of a path.
Result<std::string> run_member(const Json& request);

/// Opens `relative` below `root` for reading, a regular file, through no symbolic link and no "..": Errc::denied names
/// the component that is wrong.
Result<base::UniqueFd> open_beneath(const std::filesystem::path& root, std::string_view relative);

}  // namespace trainctl::host
