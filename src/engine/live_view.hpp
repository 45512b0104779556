// SPDX-License-Identifier: Apache-2.0
// The log of a run on another target while there is no room here for its copy: it goes to who looks, and is not kept.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "format/paths.hpp"
#include "target/cancel.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

/// Bytes [offset, offset + bytes.size()) of the log of an attempt.
struct LivePiece {
  int attempt = 0;
  std::uint64_t offset = 0;
  std::string bytes;
};

/// Filled by the thread that watches, emptied by the one that shows.
class LiveView final : public target::EventSink {
 public:
  /// The log of that rank (0 for a run of one).
  LiveView(format::RunPaths run, int rank, base::UniqueFd event)
      : run_(std::move(run)), rank_(rank), event_(std::move(event)) {}

  /// Watches from the end of the copies on: until the run has ended there (true), or there is room again or
  /// `cancel` was requested (false).
  Result<bool> watch(target::Target& target, const target::Cancel& cancel);

  /// What has come since. `fd()` is readable when something has.
  std::vector<LivePiece> take();
  [[nodiscard]] int fd() const { return event_.get(); }

  Result<> append(const target::Piece& piece) override;
  Result<target::Cursor> mismatch(std::string_view run, std::string_view file, std::uint64_t size,
                                  const target::SourceHash& hash) override;
  Result<> gap(std::string_view, std::string_view, std::uint64_t) override { return {}; }
  Result<> observed(std::string_view, const Json&) override { return {}; }
  Result<> ended(std::string_view run) override;
  Result<> current(std::string_view run) override;

 private:
  [[nodiscard]] std::map<std::string, target::Cursor> copied() const;
  [[nodiscard]] int attempt_of(std::string_view file) const;
  Result<> give_up_with_room();

  format::RunPaths run_;
  int rank_ = 0;
  base::UniqueFd event_;
  const target::Cancel* cancel_ = nullptr;
  bool ended_ = false;
  bool room_ = false;
  std::uint64_t probed_ns_ = 0;
  std::mutex mutex_;  ///< of what follows
  std::condition_variable taken_;
  std::vector<LivePiece> pieces_;
  std::size_t bytes_ = 0;
};

/// Can something be written into the folder of the run?
bool has_room(const format::RunPaths& run);

}  // namespace trainctl::engine
