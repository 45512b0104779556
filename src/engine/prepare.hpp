// SPDX-License-Identifier: Apache-2.0
// spec → plan: everything that is known before anything starts. `explain` and `--dry-run` print it, `submit` starts it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "engine/reach.hpp"
#include "format/input_list.hpp"
#include "format/plan.hpp"
#include "host/environment/request.hpp"
#include "snapshot/snapshot.hpp"
#include "spec/load.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

struct PrepareOptions {
  bool store_snapshot = true;              ///< false: only look (explain); nothing is written
  bool bare_command = false;               ///< `run -- CMD`: no source is copied and no environment is looked for
  bool require_clean = false;              ///< refuse uncommitted changes
  bool accept_large = false;               ///< a snapshot over 1 GB was agreed to
  std::vector<std::string> argv = {};      ///< as typed, for the record
  target::TransferProgress progress = {};  ///< told while source and inputs are read and files are sent to the target
};

/// A plan without id and name, and what there is to say about it.
struct Prepared {
  format::Plan plan;
  std::string name;                                          ///< the base name to claim a number for
  std::vector<std::pair<std::string, std::string>> secrets;  ///< values; never stored with the plan
  std::optional<host::ResolvedRequest> environment;
  std::optional<snapshot::Snapshot> snapshot;
  std::vector<format::SentInput> sent;   ///< what the target gets of this machine's files when the run is launched
  target::TransferProgress progress;     ///< as in PrepareOptions
  std::vector<snapshot::Sized> preview;  ///< every file, when only looked at
  std::shared_ptr<Reaching> reaching;    ///< of the target, when the run is to be submitted
  std::vector<std::string> notes;        ///< what was left out, translated, chosen: one line each
  std::vector<std::string> warnings;
};

/// All mistakes at once: missing files, unreadable sources, secrets without a value, a dirty tree with require_clean.
ResultAll<Prepared> prepare(const archive::Store& store, const spec::LoadedRun& run, const PrepareOptions& options);

/// Claims a name, writes the run folder (durable: intent before effect) and the secrets. The run exists after this.
Result<format::RunPaths> create(const archive::Store& store, Prepared& prepared);

/// create + launch on the plan's target. The run goes on whatever happens to this process. `followed`: it is attached
/// to at once.
Result<format::RunPaths> submit(const archive::Store& store, Prepared& prepared, bool followed);

/// A target that does not exist, and what the local one can never give, is refused at once.
ResultAll<> check_target(const spec::LoadedRun& run);

/// "image team/training:3", or "image of docker/Dockerfile".
std::string container_description(const format::PlanContainer& container);

}  // namespace trainctl::engine
