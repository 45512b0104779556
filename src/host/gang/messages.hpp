// SPDX-License-Identifier: Apache-2.0
// What the supervisors of a run's machines tell each other. Both sides always say all they have to say: the lead what a
// node shall do (GangOrder), a node how things are (NodeReport). Each message replaces the one before, so one that is
// lost with its connection, or comes twice, does no harm, and who joins again knows all after one message.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "format/state.hpp"
#include "host/distribution/rank_variables.hpp"
#include "host/waiter/rank_record.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// How far a node shall go in an attempt; it never goes back.
enum class GangStep {
  wait,      ///< nothing yet
  prepare,   ///< take your slot, prepare work and environment, choose ports
  launch,    ///< start the ranks
  conclude,  ///< nothing runs any more anywhere: list outputs, write your end
  leave,     ///< the run has ended: go
};

struct GangStop {
  int signal = 0;
  std::chrono::milliseconds grace{0};
  std::optional<format::Cause> cause = {};  ///< empty: a rank failed, or the training is over
  std::string message = {};
};

/// A signal for all ranks that a person sent. Of an attempt all are told, each is obeyed once.
struct GangSignal {
  std::string request;  ///< the control request's ULID
  int number = 0;
};

struct GangOrder {
  int attempt = 0;
  GangStep step = GangStep::wait;
  Rendezvous rendezvous = {};         ///< from launch on
  std::optional<GangStop> stop = {};  ///< end what runs
  bool warn = false;                  ///< the time limit is near: tell the processes that handle the signal for it
  bool retry = false;                 ///< from conclude on: another attempt will follow
  std::vector<GangSignal> signals = {};
};

enum class NodeStep { idle, queued, preparing, ready, active, drained, ended };

struct RemoteRank {
  int rank = 0;
  bool begun = false;                 ///< its waiter was started, in this supervisor's life or before
  std::optional<RankExit> exit = {};  ///< mono_ns: of the node until GangLead has translated it
  std::optional<std::string> lost = {};
};

/// What ended the attempt on this node, as it sees it.
struct NodeVerdict {
  format::Cause cause = format::Cause::exit;
  std::optional<int> rank = {};
  std::string message = {};
};

struct NodeReport {
  int attempt = 0;
  NodeStep step = NodeStep::idle;
  std::string message = {};     ///< why it is queued
  std::vector<int> ports = {};  ///< of its ranks, from ready on
  std::vector<RemoteRank> ranks = {};
  std::uint64_t mono_ns = 0;    ///< now, by the node's clock
  std::uint64_t growth_ns = 0;  ///< when its logs last grew, by the same clock
  std::uint64_t memory_peak = 0;
  std::map<std::string, std::uint64_t> logs = {};  ///< sizes, from drained on
  std::optional<NodeVerdict> problem = {};         ///< it cannot go on: preparing failed, a limit of its was hit
  std::optional<NodeVerdict> verdict = {};         ///< from drained on, when a rank of its failed
};

/// The first message of a connection, with the first report in it.
struct GangHello {
  int node = 0;
  std::string machine = {};
  std::string lead_address = {};  ///< that led here
  bool shared = false;
  NodeReport report = {};
};

std::string_view to_string(NodeStep step);
std::string encode(const GangOrder& order);
std::string encode(const NodeReport& report);
std::string encode(const GangHello& hello);
/// Unknown members are ignored, missing ones have their defaults. Errc::invalid for what is no message.
Result<GangOrder> decode_order(std::string_view text);
Result<NodeReport> decode_report(std::string_view text);
Result<GangHello> decode_hello(std::string_view text);

Json to_json(const Rendezvous& rendezvous);
Rendezvous rendezvous_from_json(const Json& json);

}  // namespace trainctl::host
