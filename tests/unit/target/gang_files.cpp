// SPDX-License-Identifier: Apache-2.0
// Every file of a run on several machines comes from exactly one of them.
#include "target/host/gang_files.hpp"

#include "format/plan.hpp"
#include "support/catch.hpp"

using namespace trainctl;

TEST_CASE("files belong to the node of their rank, or to the node they name") {
  format::Plan plan;
  plan.resources.nodes = 3;
  plan.processes_per_node = 2;
  const target::GangFiles files(plan);
  CHECK(files.nodes() == 3);
  CHECK(files.node_of("attempts/1/events.jsonl") == 0);
  CHECK(files.node_of("attempts/1/nodes/2/events.jsonl") == 2);
  CHECK(files.node_of("attempts/12/nodes/1/rank-3.jsonl") == 1);
  CHECK(files.node_of("attempts/1/logs/std.log") == 0);
  CHECK(files.node_of("attempts/1/logs/rank-1.log") == 0);
  CHECK(files.node_of("attempts/1/logs/rank-2.times") == 1);
  CHECK(files.node_of("attempts/1/logs/rank-5.log") == 2);
  CHECK(files.node_of("attempts/1/logs/environment.log") == 0);
  CHECK(files.node_of("attempts/1/logs/environment-n2.log") == 2);
  CHECK(files.node_of("attempts/1/metrics/script-r4.jsonl") == 2);
  CHECK(files.node_of("attempts/1/metrics/system-r2-n1.jsonl") == 1);
  CHECK(files.node_of("attempts/1/metrics/tensorboard-r0.jsonl") == 0);
  CHECK(files.node_of("attempts/1/logs/rank-99.log") == 0);
  CHECK(files.node_of("plan.json") == 0);
}
