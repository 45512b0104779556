// SPDX-License-Identifier: Apache-2.0
// The copy of a run folder that grows elsewhere. Writes go to the source's offset, so a repeat is harmless; one
// process at a time mirrors a run, everyone else reads the copy.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::archive {

/// What the copy of a file holds of its current epoch.
struct MirrorCursor {
  std::uint64_t have = 0;  ///< bytes
  std::string tail = {};   ///< SHA-256 (hex) of the last min(have, 64 KiB) of them
  std::string token = {};  ///< of a best_effort source: where to go on behind them
};

/// May a source write this file of the copy? attempts/<n>/{events.jsonl, outputs.jsonl, nodes/…, logs/…, metrics/…}:
/// nothing else of a run folder is mirrored, and no name leads out of it.
bool is_mirrored(std::string_view file);

class Mirror {
 public:
  /// Takes client/mirror.lock; an empty optional while another process mirrors this run.
  static Result<std::optional<Mirror>> open(const format::RunPaths& run);

  /// Where to go on, for every file that the copy has.
  [[nodiscard]] Result<std::map<std::string, MirrorCursor>> cursors() const;

  /// Writes bytes of the source's `file` at the source's offset. Errc::invalid for a name that is not mirrored or an
  /// offset behind the end of the copy (there would be a hole). `token` is kept together with the length it belongs to.
  Result<> write(std::string_view file, std::uint64_t offset, std::string_view bytes, std::string_view token = {});

  /// SHA-256 (hex) of the first `count` bytes of the source.
  using SourceHash = std::function<Result<std::string>(std::uint64_t count)>;

  /// The source holds `size` bytes that are not what the copy holds. The longest common prefix is found; the copy is
  /// rewritten from there when this machine rebooted since it was last written (its own last writes were lost), else a
  /// new epoch of the copy begins and the old bytes stay. Returns from where to read on.
  Result<MirrorCursor> reconcile(std::string_view file, std::uint64_t size, const SourceHash& hash);

  /// {"type":"observed",…}: what an engine says of the run. Not written again while it stays the same.
  Result<> observe(const Json& observation);
  /// {"type":"gap","file",…,"lines"}: lines that a source of less than byte-exact logs has lost.
  Result<> note_gap(std::string_view file, std::uint64_t lines);

 private:
  struct File {
    base::UniqueFd fd;
    int epoch = 1;
    std::uint64_t size = 0;
  };
  Mirror(format::RunPaths run, base::FileLock lock) : run_(std::move(run)), lock_(std::move(lock)) {}
  Result<File*> file(std::string_view name);
  Result<> read_back();
  Result<> keep_cursor(std::string_view file, int epoch, const MirrorCursor& cursor);
  Result<> journal(std::string_view type, const Json& fields);
  [[nodiscard]] std::string copy_name(std::string_view file, int epoch) const;
  [[nodiscard]] int last_epoch(std::string_view file) const;

  format::RunPaths run_;
  base::FileLock lock_;
  std::map<std::string, File, std::less<>> files_;
  std::map<std::string, MirrorCursor, std::less<>> tokens_;  ///< of client/cursors.jsonl
  std::optional<format::EventWriter> journal_;
  std::optional<format::EventWriter> token_writer_;
  Json last_observed_;
  bool rebooted_ = false;
};

}  // namespace trainctl::archive
