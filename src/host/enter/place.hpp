// SPDX-License-Identifier: Apache-2.0
// Where a run is at this moment, for whoever wants to stand beside it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/distribution/layout.hpp"
#include "host/enter/order.hpp"
#include "host/waiter/rank_record.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// The last attempt of a run, and one of its ranks.
struct Visited {
  format::RunPaths run;
  format::Plan plan;
  int attempt = 0;
  RankPlace place = {};
  RankRecord rank = {};
  format::State state = format::State::created;

  /// As far as the records tell: its process was started, and nobody has written its end.
  [[nodiscard]] bool goes_on() const { return rank.started && !rank.exit && !format::is_terminal(state); }
  /// The process lives, and is one of this machine's.
  [[nodiscard]] bool lives_here() const;
};

/// Errc::not_found when the folder holds no run, Errc::invalid when the run has no such rank, Errc::unavailable when
/// that has not begun.
Result<Visited> visit_run(const std::filesystem::path& folder, int rank);

struct Place {
  std::filesystem::path directory;
  std::vector<std::string> variables;  ///< NAME=value
};

/// The run's working directory, and the very variables of the rank while that lives, else those that are recorded,
/// without secrets. `notes` gets what of this a person has to know. Inside a container only what lives there counts:
/// Errc::unavailable when nothing does.
Result<Place> find_place(const Visited& visited, Stand stand, std::vector<std::string>& notes);

}  // namespace trainctl::host
