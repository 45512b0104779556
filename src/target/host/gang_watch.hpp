// SPDX-License-Identifier: Apache-2.0
// Target::watch over the hosts of runs on several machines.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "target/host/gang_files.hpp"
#include "target/host/host_link.hpp"
#include "target/target.hpp"

namespace trainctl::target {

/// Hands what grows on all hosts to the sink, one at a time; each host gives its own files only. The first host
/// decides: its trouble ends the watch, and a run has ended when it has ended there and the others have given theirs.
/// Another host that cannot be reached is tried again and again; a run that has ended does not wait for it. `files` has
/// every run of `runs`; `links` as many hosts as the largest of them has nodes. With Until::current each host is asked
/// once, the first one first; what another cannot tell now is told by a later look.
Result<> watch_gang(std::span<const std::shared_ptr<HostLink>> links, std::span<const Watched> runs,
                    const std::map<std::string, GangFiles>& files, EventSink& sink, const Cancel& cancel, Until until);

}  // namespace trainctl::target
