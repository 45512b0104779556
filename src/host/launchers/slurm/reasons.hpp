// SPDX-License-Identifier: Apache-2.0
// Why a job waits, in words. Pure.
#pragma once

#include <string>
#include <string_view>

namespace trainctl::host::slurm {

struct Reason {
  std::string words;        ///< "waits for free resources"
  bool impossible = false;  ///< it will never start as it is
  std::string what_to_do = {};
};

/// For squeue's %r: "Resources", "QOSMaxJobsPerUserLimit", "ReqNodeNotAvail, UnavailableNodes:n1". One that is not
/// known comes as it is.
Reason reason_of(std::string_view reason);

/// The same as one sentence: words, and what to do for one that never starts.
std::string sentence_of(std::string_view reason);

}  // namespace trainctl::host::slurm
