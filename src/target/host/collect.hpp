// SPDX-License-Identifier: Apache-2.0
// Brings outputs of a host home.
#pragma once

#include "target/host/runner_client.hpp"
#include "target/target.hpp"

namespace trainctl::target {

/// As Target::collect. A file is written beside its place and moved there when its hash was verified; its mode and
/// modification time are the host's. Nothing is written outside the attempt's outputs folder, through no link. `node`:
/// of a run on several machines, the one behind `client`; what node 0 has with the same path and content is left out.
Result<Collected> collect_outputs(RunnerClient& client, const RunRef& ref, const CollectPlan& plan,
                                  const Cancel& cancel, int node = 0);

}  // namespace trainctl::target
