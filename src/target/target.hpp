// SPDX-License-Identifier: Apache-2.0
// The seam between what trainctl remembers and the places where runs happen. A target grows a run folder; watching it
// is copying that growth. Every implementation passes tests/unit/target/conformance.cpp. Retries, deadlines and traces
// are decorators, never inside.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "format/state.hpp"
#include "target/cancel.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {

enum class LogFidelity {
  byte_exact,   ///< offsets are those of the source; a copy equals it
  best_effort,  ///< an engine's log service: lines may be missing, and that is told
};

struct Capabilities {
  LogFidelity log_fidelity = LogFidelity::byte_exact;
  bool in_place = false;  ///< the run folder lies in the store itself: nothing has to be copied or collected
  bool reattach = true;   ///< a run goes on without this process, and is found again
  bool multi_node = false;
  bool gpus = false;
  bool takes_files = false;  ///< a host: sources and inputs of this machine are sent there when the run is launched
  std::optional<int> max_concurrency = {};  ///< runs at once; unset = as many as fit
};

/// What a launch gives back; opaque to everyone else. Stored as soon as it is known.
using Handle = Json;

/// How far files are on their way: to or from a target, into the store.
struct Transfer {
  std::string_view what;    ///< "snapshot", "source", "inputs", "outputs"
  std::uint64_t files = 0;  ///< that have to go over
  std::uint64_t files_done = 0;
  std::uint64_t bytes = 0;  ///< of them
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_there = 0;  ///< that did not have to, because they were there
};
/// Called often, from the thread that transfers.
using TransferProgress = std::function<void(const Transfer&)>;

/// One run as its target knows it. The ULID is the key of everything: the same key twice is the same run.
struct RunRef {
  std::string run;                 ///< ULID
  std::filesystem::path folder;    ///< its folder in the store
  Handle handle = Json::object();  ///< of the launch, when it is known
  TransferProgress progress = {};  ///< told while launch and collect transfer files
  bool followed = false;           ///< this process watches the run as soon as it is launched
};

/// A program that a person wants to start beside a run.
struct Visit {
  std::vector<std::string> argv = {};  ///< empty: a shell
  bool terminal = false;               ///< its stdin and stdout are one
  int rank = 0;                        ///< on the machine of this one, with its variables
};

/// Which outputs of an attempt are wanted here.
struct CollectPlan {
  int attempt = 1;
  std::vector<std::string> patterns = {};       ///< of paths below outputs/; none = all. A folder means all in it
  std::optional<std::uint64_t> max_bytes = {};  ///< files behind so many bytes stay there
};

struct Collected {
  std::uint64_t files = 0;                ///< here now, of those that were wanted
  std::uint64_t bytes = 0;                ///< of them
  std::vector<std::string> left = {};     ///< paths that stay there, because of max_bytes or the patterns
  std::uint64_t left_bytes = 0;           ///< of them
  std::vector<std::string> refused = {};  ///< paths that are not safe to make here: links that lead outside, pipes
};

/// What the copy of a file holds.
struct Cursor {
  std::uint64_t have = 0;  ///< bytes of the current epoch
  std::string tail = {};   ///< SHA-256 (hex) of the last min(have, 64 KiB) of them; empty = not to be compared
  std::string token = {};  ///< where to go on, in the words of a best_effort target
};

struct Watched {
  RunRef ref;
  std::map<std::string, Cursor> cursors =
      {};  ///< by path relative to the run folder; a file without one from its start
};

/// A piece of a file: `bytes` stand at `offset`, and `next_token` is where to go on behind them (best_effort).
struct Piece {
  std::string_view run;
  std::string_view file;  ///< relative to the run folder, one of the mirrored kinds
  std::uint64_t offset = 0;
  std::string_view bytes;
  std::string_view next_token = {};
};

/// SHA-256 (hex) of [offset, offset + count) of the source's file.
using SourceHash = std::function<Result<std::string>(std::uint64_t offset, std::uint64_t count)>;

/// Takes what watching brings. An error ends the watch with it.
class EventSink {
 public:
  EventSink() = default;
  EventSink(const EventSink&) = delete;
  EventSink& operator=(const EventSink&) = delete;
  virtual ~EventSink() = default;

  virtual Result<> append(const Piece& piece) = 0;
  /// The source does not hold what the copy holds (it was truncated, or the machine lost its last writes): `size`
  /// bytes are there. Returns from where to go on.
  virtual Result<Cursor> mismatch(std::string_view run, std::string_view file, std::uint64_t size,
                                  const SourceHash& hash) = 0;
  /// `lines` of a best_effort log are lost behind what was appended last.
  virtual Result<> gap(std::string_view run, std::string_view file, std::uint64_t lines) = 0;
  /// What an engine says of a run without a lead of ours: {"state", "cause"?, "message"?}. Again only when it changes.
  virtual Result<> observed(std::string_view run, const Json& observation) = 0;
  /// The run has ended and everything of it was appended.
  virtual Result<> ended(std::string_view run) = 0;
  /// The run goes on, and everything there was of it a moment ago was appended. Told now and then, and at
  /// the end of a watch that does not wait for ends.
  virtual Result<> current(std::string_view) { return {}; }
  /// The target has nothing of this run: it was removed there, or never came. Errc::not_found ends the watch.
  virtual Result<> missing(std::string_view run) {
    return fail(Errc::not_found, "no run " + std::string(run) + " on the target");
  }
};

struct StopPlan {
  std::string request;  ///< ULID: the key of the wish, as in the folder's control/<ulid>.json
  std::string reason;
};

struct FileDigest {
  std::uint64_t size = 0;
  std::string sha256;  ///< hex
};

/// How long to watch.
enum class Until {
  ended,    ///< until the runs have ended
  current,  ///< only to take over what is there now
  state,    ///< the same, but for logs of attempts that go on: a target may leave them out
};

class Target {
 public:
  Target() = default;
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  virtual ~Target() = default;

  [[nodiscard]] virtual Capabilities capabilities() const = 0;

  /// What is there and whether it can be used; no side effects.
  virtual Result<Json> probe(const Cancel& cancel) = 0;

  /// Whether the target can be reached now, before there is a run; what makes the launch after it quicker is done.
  /// Errc::unavailable (retryable) where it cannot; others when trying again cannot help.
  virtual Result<> reach(const Cancel& /*cancel*/) { return {}; }

  /// Starts the run whose plan lies in `ref.folder`. The same run twice is started once: the second call returns the
  /// same handle, and takes the run up again where nothing supervises it any more. An ended run is left alone.
  virtual Result<Handle> launch(const RunRef& ref, const Cancel& cancel) = 0;

  /// Takes a launched run up again where nothing supervises it any more; one that was never launched is left alone.
  virtual Result<> adopt(const RunRef& ref, const Cancel& cancel) = 0;

  /// The handle of a run that was launched here, after a crash; empty when it never was. Starts nothing.
  virtual Result<std::optional<Handle>> find(const RunRef& ref, const Cancel& cancel) = 0;

  /// Takes up again what nothing supervises any more, then hands the growth of many runs to `sink` until all have ended
  /// (or, with the other two, everything there is now was handed over) or `cancel` is requested; all are success.
  /// Errc::unavailable (retryable) when the connection broke: nothing about the runs is known then.
  virtual Result<> watch(std::span<const Watched> runs, EventSink& sink, const Cancel& cancel, Until until) = 0;

  /// Asks for the end of a run; returns when the wish is durable there. Twice is once; a run that has ended is fine.
  virtual Result<> stop(const RunRef& ref, const StopPlan& plan, const Cancel& cancel) = 0;

  /// Sends a signal ("SIGUSR1") to all ranks of a run; returns when the wish is durable there. Errc::not_found when it
  /// has ended, Errc::invalid where there are no processes.
  virtual Result<> signal(const RunRef& /*ref*/, const std::string& /*name*/, const Cancel& /*cancel*/) {
    return fail(Errc::invalid, "the target of this run cannot send signals", "trainctl cancel without --signal");
  }

  /// Copies outputs of an ended attempt into the run's folder; nothing to do in place. What is whole here is not copied
  /// again, and a file that was cut goes on. Errc::unavailable (retryable) when the connection broke.
  virtual Result<Collected> collect(const RunRef& ref, const CollectPlan& plan, const Cancel& cancel) = 0;

  /// Removes every trace of an ended run from the target; a run that is not there is fine.
  virtual Result<> remove(const RunRef& ref, const Cancel& cancel) = 0;

  /// Size and hash of a file of the run, as the target has it now. Errc::not_found; Errc::invalid where a target keeps
  /// no files.
  virtual Result<FileDigest> digest(const RunRef& ref, const std::string& file, const Cancel& cancel) = 0;

  /// The command line, to be executed here, that becomes a program on the machine of a rank: in the run's folder, with
  /// its variables. Its exit code is the program's; streams are those of whoever executes it. Errc::not_found when the
  /// run is not there, Errc::invalid where no programs can be started beside runs.
  virtual Result<std::vector<std::string>> enter(const RunRef& /*ref*/, const Visit& /*visit*/,
                                                 const Cancel& /*cancel*/) {
    return fail(Errc::invalid, "no program can be started beside runs on this target");
  }

  /// The command line, to be executed here once for a connection, whose stdin and stdout are a connection to `port` of
  /// the loopback that the rank sees. Its machine was reached when this returns. Errc::invalid where that is not
  /// possible, or that loopback is this machine's.
  virtual Result<std::vector<std::string>> forward(const RunRef& /*ref*/, int /*port*/, int /*rank*/,
                                                   const Cancel& /*cancel*/) {
    return fail(Errc::invalid, "no tunnel is needed: what the run listens on is on this machine");
  }

  /// Removes what the target keeps for ended runs, and nothing else needs; with `all` every trace of trainctl, unless a
  /// run goes on (Errc::invalid). Returns {"runs", "kept": [{"run","name"}], "bytes"}.
  virtual Result<Json> clean(bool all, const Cancel& cancel) = 0;
};

}  // namespace trainctl::target
