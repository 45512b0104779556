// SPDX-License-Identifier: Apache-2.0
// The index: a disposable SQLite database made from the run folders, so that listing, filtering and sorting 100,000
// runs does not read 100,000 folders. Missing, damaged or of another version it is made anew.
//
// Only the holder of the store's index lock writes, checkpoints or recovers; an Index that got the lock holds it until
// it is destroyed, so keep it for one command or one redraw. Without the lock it reads the last committed state.
// Where the index cannot be written (read-only store, full disk), Mode::read works on a copy in memory instead.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/file.hpp"
#include "index/query.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {

class Database;

/// Called now and then with what is done of how much; false ends the work early (what is done stays).
using Progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

enum class Mode {
  read,      ///< a short wait for the lock, then the last state
  exclusive  ///< waits for the lock until the deadline, then Errc::timeout naming who holds it
};

struct Refreshed {
  base::WallTime as_of = {};  ///< everything that happened before is in the index
  bool complete = false;      ///< as_of is now
  std::uint64_t added = 0, updated = 0, removed = 0;
  std::optional<pid_t> held_by = {};  ///< who had the lock, when we did not get it
  std::string not_kept = {};          ///< why the index is only in memory; empty when it is not
};

/// Something wrong in the index or in a run folder.
struct Finding {
  std::string where;  ///< run, name or file
  std::string message;
  std::string hint;
};

class Index {
 public:
  static Result<std::unique_ptr<Index>> open(const archive::Store& store, Mode mode);
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;
  ~Index();

  /// Takes in new run folders and what the runs that have not ended grew by. The budget bounds the latter; new folders
  /// are always taken in, with `progress`. Without the lock nothing happens, as_of says how old the state is.
  Result<Refreshed> refresh(std::chrono::milliseconds budget, const Progress& progress = {});

  /// One page. An Errc::invalid error has the position in the where-expression.
  Result<RunPage> query(const RunQuery& query);

  /// Ids of runs that have not ended as far as the index knows, newest first, at most `most`.
  Result<std::vector<std::string>> open_runs(std::size_t most);

  /// Ids of runs that have ended on other targets, newest first, at most `most`.
  Result<std::vector<std::string>> ended_elsewhere(std::size_t most);

  /// SQLite's own check, and that index and run folders agree in number.
  Result<std::vector<Finding>> check();
  /// Throws the index away and reads every run folder.
  Result<Refreshed> rebuild(const Progress& progress = {});

  [[nodiscard]] bool has_lock() const { return lock_.has_value(); }

 private:
  explicit Index(archive::Store store) : store_(std::move(store)) {}
  Result<> open_writer();
  Result<> open_reader();
  Result<> open_memory(const Error& why);
  Result<> start_over();
  Result<Refreshed> refresh_once(std::chrono::milliseconds budget, const Progress& progress);
  Result<> checkpoint_if_large();
  Result<std::vector<std::string>> ids_where(const std::string& condition, std::size_t most);
  [[nodiscard]] base::WallTime last_complete() const;

  archive::Store store_;
  std::optional<base::FileLock> lock_;
  std::string not_kept_;  // why the database is in memory; then there is no lock
  std::unique_ptr<Database> database_;
};

}  // namespace trainctl::index
