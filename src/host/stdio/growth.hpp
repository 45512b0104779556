// SPDX-License-Identifier: Apache-2.0
// Growth of run folders: which mirrored files have bytes that a reader does not have yet.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "host/stdio/run_listing.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// What a reader has of a file. `tail` is the SHA-256 (hex) of its last min(have, 64 KiB) bytes; empty = not compared.
struct FileCursor {
  std::uint64_t have = 0;
  std::string tail = {};
};

struct WatchedRun {
  std::string run;                            ///< ULID
  std::map<std::string, FileCursor> cursors;  ///< by path relative to the run folder; a file without one from 0
};

/// One thing a reader learns: bytes of a file, or a notice (`notice` not null, no bytes).
struct Growth {
  std::string run;
  std::string file;
  std::uint64_t offset = 0;
  std::string bytes;
  Json notice;
};

struct GrowthOptions {
  bool follow = true;             ///< false: what is there now is all; each run is told off then, ended or not
  bool tolerate_missing = false;  ///< a run that is not here gives the notice {"run","missing":true}, not an error
  bool logs = true;               ///< false: the logs of an attempt that goes on are left out
};

class GrowthWatcher {
 public:
  /// Errc::not_found when a run is not here (unless that is tolerated).
  static Result<GrowthWatcher> open(const std::filesystem::path& store, std::vector<WatchedRun> runs,
                                    GrowthOptions options = {});

  /// The next piece, at most `max_bytes`; empty when there is nothing now. What the lead says of a run comes first, so
  /// that a flooding log does not hide it, then the other files take turns. How an attempt ended, and that another one
  /// begins, comes behind all else that had grown when it was looked at: a copy that shows an end has everything before
  /// it. A file whose copy does not fit (shorter than the cursor, or another tail) gives one notice
  /// {"run","file","mismatch":true,"size":…} and no bytes; a run that has ended gives
  /// {"run","ended":true,"state":…,"cause":…} after its last byte, and one that has not and is not followed
  /// {"run","current":true,"state":…}.
  Result<std::optional<Growth>> next(std::size_t max_bytes);

  /// After a mismatch: goes on with the file from `cursor`.
  void resume(const std::string& run, const std::string& file, const FileCursor& cursor);

  /// All runs have ended and everything was given.
  [[nodiscard]] bool done() const;
  /// Readable when something grew; -1 = only look every wait_ms().
  [[nodiscard]] int fd() const { return inotify_.get(); }
  [[nodiscard]] int wait_ms() const { return network_ ? 500 : 2000; }
  /// Call when fd() is readable or wait_ms() have passed.
  void look();

 private:
  struct File {
    std::uint64_t have = 0;
    std::uint64_t size = 0;
    std::string tail;
    std::uint64_t held = 0;  ///< the size up to which the rest is an attempt's end, which comes last
    bool checked = false;
    bool broken = false;
  };
  struct Run {
    format::RunPaths paths;
    RunListing listing;
    std::map<std::string, File> files;
    bool dirty = true;
    bool ended = false;
    bool told = false;
    bool missing = false;
    Json end;
    Json current;  ///< the state of a run that has not ended
    std::string last_file;
    std::string silent_logs;  ///< the folder of logs that are left out; empty = none
    int folded_attempt = -1;
    std::uint64_t folded_size = 0;
  };
  GrowthWatcher() = default;
  bool watch_folders(std::size_t index);
  void read_state(Run& run) const;
  void scan(std::size_t index);
  static std::optional<format::RunState> fold_if_grown(Run& run);
  [[nodiscard]] std::optional<Growth> last_word(Run& run) const;
  static std::optional<Growth> take_news(Run& run, std::size_t max_bytes);
  static std::optional<Growth> take_next(Run& run, std::size_t max_bytes);
  static std::optional<Growth> take(Run& run, const std::string& name, File& file, std::size_t max_bytes);
  static std::optional<Growth> check(const Run& run, const std::string& name, File& file);

  GrowthOptions options_;
  std::vector<Run> runs_;
  std::map<int, std::size_t> folders_;  ///< inotify watch -> run
  std::map<std::string, int> watched_;
  base::UniqueFd inotify_;
  std::size_t turn_ = 0;
  bool network_ = false;
};

}  // namespace trainctl::host
