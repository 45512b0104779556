// SPDX-License-Identifier: Apache-2.0
// Who belongs to the gang of a run on several machines: gang/<node>.json in the run folder of each, 0600, never
// mirrored. Whoever starts the nodes writes it:
//
//  - Over ssh the client sends `prepare` to every host (docs/runner-protocol.md): first to node 0, whose supervisor
//    begins to listen and tells where, then with that to the others, whose supervisors connect. `go` to node 0 alone
//    begins the run. Each host has a run folder of its own, or all share one on a network file system.
//  - A launcher whose machines share the run folder (Slurm) calls found_gang() on node 0 before it supervises the run
//    there, and starts `trainctl-runner supervise --node K RUN` on every other machine, once node 0 listens or before:
//    the node waits for gang/lead.json. Nothing else has to be sent to them. There is no `go` then.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// Without a word for so long a node is given up, and a node gives up itself.
inline constexpr std::chrono::milliseconds kGangSilence = std::chrono::seconds(60);

struct Membership {
  int node = 0;
  int nodes = 1;
  std::string key;                               ///< 32 raw bytes, the same on all machines of the run
  std::vector<std::string> addresses = {};       ///< by node, numeric; "" = as the channel shows it
  std::vector<std::string> lead_addresses = {};  ///< where node 0 may be reached, tried in turn; on the other nodes
  int lead_port = 0;                             ///< node 0: of an earlier supervisor, 0 = to be chosen
  bool shared = false;                           ///< node 0's run folder is this one
  bool needs_go = false;                         ///< node 0 waits for permit_start()
  std::chrono::milliseconds silence = kGangSilence;
};

Json to_json(const Membership& member);
Result<Membership> membership_from_json(const Json& json);

/// Empty: the run is no gang's. A node without a file of its own in a shared folder is made from that of node 0.
Result<std::optional<Membership>> read_membership(const format::RunPaths& run);
Result<> write_membership(const format::RunPaths& run, const Membership& member);
/// Makes the gang of a run whose nodes see this run folder: node 0's membership with a new key. Twice is once.
Result<> found_gang(const format::RunPaths& run, int nodes);

/// Which node the folder belongs to on this machine: 0 for a run of one machine and for a folder that all share.
int node_of(const std::filesystem::path& run_root);
/// A run of this store as this machine takes part in it.
format::RunPaths run_here(const std::filesystem::path& store, const std::string& id);

/// Where node 0 listens: gang/lead.json {addresses, port}.
struct LeadPlace {
  std::vector<std::string> addresses;
  int port = 0;
};
Result<> publish_lead(const format::RunPaths& run, const LeadPlace& place);
Result<std::optional<LeadPlace>> read_lead(const format::RunPaths& run);

/// `go`: durable; without it the lead of a gang that was prepared by a client begins no attempt.
Result<> permit_start(const format::RunPaths& run);
bool start_permitted(const format::RunPaths& run);

}  // namespace trainctl::host
