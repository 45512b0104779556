// SPDX-License-Identifier: Apache-2.0
// When a run that grows elsewhere was last heard of: client/contact.json. A view of a copy, never part of a state.
#pragma once

#include <optional>
#include <string>

#include "base/clock.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::archive {

struct Contact {
  std::optional<base::WallTime> seen = {};   ///< the copy is at least as new as this
  std::optional<base::WallTime> tried = {};  ///< the last look in vain since then
  std::string problem = {};                  ///< why; empty when the last look was good
  bool whole = false;                        ///< the run has ended, and everything of it was copied, of every node
  bool gone = false;                         ///< the target said that it has nothing of the run
};

/// Empty times when nobody looked yet, or what is written there cannot be read.
Contact read_contact(const format::RunPaths& run);

/// Now: everything that the target has of the run was copied.
Result<> note_seen(const format::RunPaths& run);
/// As note_seen, and the run has ended: there is nothing more to ask its target for but outputs.
Result<> note_whole(const format::RunPaths& run);
/// Now: the target has nothing of the run any more.
Result<> note_gone(const format::RunPaths& run);
/// Now: the target could not be asked. What was seen stays.
Result<> note_unreachable(const format::RunPaths& run, const std::string& problem);

}  // namespace trainctl::archive
