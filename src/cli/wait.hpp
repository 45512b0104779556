// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.hpp"
#include "engine/mirroring.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {

/// Waits for a run's end, adopting it when its supervisor died. Errc::timeout after `timeout`; Errc::canceled on Ctrl-C
/// (the run goes on).
Result<format::RunState> wait_for_end(const format::RunPaths& run, std::optional<std::chrono::milliseconds> timeout);

/// Of many runs, one after the other: all of them are followed meanwhile, over one connection to each target, and
/// adopted.
class WaitForEnds {
 public:
  static Result<WaitForEnds> begin(std::vector<format::RunPaths> runs);
  /// As wait_for_end, of one of these.
  Result<format::RunState> end_of(const format::RunPaths& run, std::optional<std::chrono::milliseconds> timeout);

 private:
  WaitForEnds() = default;
  [[nodiscard]] const engine::Mirroring* mirror_of(const format::RunPaths& run) const;
  Result<> look_after(const format::RunPaths& run);

  std::vector<std::unique_ptr<engine::Mirroring>> mirrors_;
  std::vector<format::RunPaths> in_place_;  ///< the runs that no target tells of
  std::uint64_t adopted_ns_ = 0;            ///< when the run that is waited for was looked after
  std::uint64_t others_adopted_ns_ = base::mono_ns();
};

}  // namespace trainctl::cli
