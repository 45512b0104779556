// SPDX-License-Identifier: Apache-2.0
// Built environments: <root>/<environment key>/, complete when its environment.json exists.
//   <root>/locks/<request key>      what a request resolved to: hashed requirements text
//   <root>/setup/<digest>.json      what setup lines changed
//   <root>/interpreters.json        what is known about Pythons
//   <root>/.flock/<key>.build|.use  locks: one builder; shared by users, exclusive for removal
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "host/environment/request.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

struct EnsureOptions {
  std::filesystem::path root;                        // made when missing
  int log_fd = -1;                                   // everything the tools print; -1 = nowhere
  std::function<void(const std::string&)> progress;  // one-line phases
  int cancel_fd = -1;                                // readable = stop: Errc::canceled
  bool upgrade = false;                              // resolve again although a lock is cached; setup lines run again
  std::optional<Surroundings> surroundings;          // this process's when not given; its cache is set to `root`
  std::filesystem::path directory;                   // where .python-version counts from; may be empty
};

struct BuiltEnvironment {
  std::filesystem::path python;  // absolute
  std::filesystem::path root;    // the environment's folder, the venv, or empty for a plain interpreter
  std::string key;               // environment key
  std::string lock_digest;       // sha256 of the lock text; empty when there is none
  std::string version;           // of the Python
  std::string tool;              // "uv 0.13.9", "pip 23.0", "micromamba 2.0", empty when nothing was built
  std::string freeze;            // name==version lines
  bool built = false;            // by this call
  /// To set (or, without a value, to unset) for every process of a run: PATH, VIRTUAL_ENV, what setup lines changed.
  std::vector<std::pair<std::string, std::optional<std::string>>> variables;
  friend bool operator==(const BuiltEnvironment&, const BuiltEnvironment&) = default;
};

/// For handing it from a builder process to the one that asked.
Json to_json(const BuiltEnvironment& environment);
Result<BuiltEnvironment> built_environment_from_json(const Json& json);

/// Makes sure the environment exists. A complete one with a cached lock costs a few stat calls and needs neither
/// network nor uv. Ten callers at once: one builds, the others wait and say so through `progress`. A failed build
/// leaves nothing; the error's message is the resolver's own, the hint says what to do. An environment left unfinished
/// is built again.
Result<BuiltEnvironment> ensure(const EnvironmentRequest& request, const EnsureOptions& options);

/// Whether `ensure` would build: complete (key), or not. No side effects, nothing is run.
struct CacheState {
  bool locked = false;  // the lock of this request is cached
  bool built = false;   // and so is the environment
  std::string key;      // environment key when locked
};
CacheState cached(const EnvironmentRequest& request, const std::filesystem::path& root);

/// Resolves (again with options.upgrade) and returns the lock text; nothing is built.
Result<std::string> lock_environment(const EnvironmentRequest& request, const EnsureOptions& options);

/// Held by a run while it uses an environment: keeps `remove_environment` away. Movable; ends with the object or
/// process.
class EnvironmentUse {
 public:
  /// Errc::not_found when it was removed meanwhile (then `ensure` again). A read-only root gives a use without a lock.
  static Result<EnvironmentUse> acquire(const std::filesystem::path& root, const std::string& key);
  /// Nothing to hold when it is not kept under `root` (an interpreter, a user's venv).
  static Result<EnvironmentUse> acquire(const std::filesystem::path& root, const BuiltEnvironment& environment);
  /// For waiters that keep only chosen descriptors.
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  explicit EnvironmentUse(base::UniqueFd fd) : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
};

struct EnvironmentInfo {
  std::string key;
  std::string kind;         // packages, conda, project …
  std::string description;  // "python 3.11.7, 3 packages"
  std::string python_version;
  std::string created;         // UTC
  std::int64_t last_used = 0;  // seconds since the epoch
  std::uint64_t bytes = 0;
  std::size_t packages = 0;
  bool complete = false;
  bool in_use = false;
  std::filesystem::path path;
  std::string record;  // environment.json as text; empty when incomplete
};

/// Newest use first; unfinished ones too.
Result<std::vector<EnvironmentInfo>> list_environments(const std::filesystem::path& root);
/// By key or unique prefix (at least 4 digits). Errc::not_found, or Errc::invalid with the candidates when ambiguous.
Result<EnvironmentInfo> show_environment(const std::filesystem::path& root, const std::string& key_prefix);
/// Errc::denied while a run uses it or somebody builds it. Returns the bytes it had.
Result<std::uint64_t> remove_environment(const std::filesystem::path& root, const std::string& key_prefix);

}  // namespace trainctl::host
