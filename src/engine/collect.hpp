// SPDX-License-Identifier: Apache-2.0
// The outputs of a run that lies elsewhere, brought home.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

enum class OutputsAre {
  pending,     ///< not copied yet: the run goes on, or nobody awaited them
  here,        ///< all that is wanted is in this store
  partial,     ///< some of it: the rest was left there, or did not fit on the disk
  not_wanted,  ///< the configuration says so
};
std::string_view to_string(OutputsAre state);

/// A failed run's outputs are copied up to this much; the rest is listed and left.
inline constexpr std::uint64_t kMostOfFailed = std::uint64_t{1} << 30U;

struct OutputsRecord {
  OutputsAre state = OutputsAre::pending;
  std::uint64_t files = 0;  ///< that were copied
  std::uint64_t bytes = 0;
  std::uint64_t left = 0;  ///< files that stay on the target
  std::uint64_t left_bytes = 0;
  std::string problem = {};  ///< why they are partial, or what could not be copied
};

/// What this store has of the run's outputs. `plan` and `state` are the run's.
OutputsRecord outputs_record(const format::RunPaths& run, const format::Plan& plan, const format::RunState& state);

struct CollectOptions {
  bool pull = false;                       ///< whatever the configuration says
  std::vector<std::string> patterns = {};  ///< with `pull`: only these
  target::TransferProgress progress = {};
};

/// Copies the outputs of an ended run home and records it; nothing to do for one whose outputs are here. Waits for
/// another process that does the same. A full disk is no error but a record that says so: the run's state is what it
/// was. Errc::unavailable (retryable): the target cannot be reached, what came stays and the next call goes on there.
Result<OutputsRecord> collect(const format::RunPaths& run, const CollectOptions& options);

}  // namespace trainctl::engine
