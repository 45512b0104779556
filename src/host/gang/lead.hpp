// SPDX-License-Identifier: Apache-2.0
// Node 0's end of the gang channel: what every other node shall do, and how each is. It decides nothing: the
// supervision of the run does (supervisor/run_lead.cpp).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/distribution/ports.hpp"
#include "host/gang/link.hpp"
#include "host/gang/membership.hpp"
#include "host/gang/messages.hpp"

namespace trainctl::host {

class GangLead {
 public:
  /// Another node, as its last report has it. Times are of this machine's clock.
  struct Node {
    int number = 0;
    bool connected = false;
    bool lost = false;         ///< not heard for too long since its ranks were started
    std::string address = {};  ///< for the ranks of the others; empty before it first joined
    bool shared = false;       ///< it sees this very run folder
    std::uint64_t heard_at = 0;
    std::uint64_t growth_at = 0;
    NodeReport report = {};  ///< of this attempt; step idle while it is not in it
  };

  /// Listens, and publishes where (publish_lead). Errc::unavailable when the port of an earlier supervisor is taken.
  static Result<std::unique_ptr<GangLead>> open(Reactor& reactor, const format::RunPaths& run, Membership member);
  ~GangLead();
  GangLead(const GangLead&) = delete;
  GangLead& operator=(const GangLead&) = delete;

  /// All nodes are to wait for what follows in this attempt.
  void begin(int attempt);
  /// Nodes take their slots one after the other, so that two runs on the same machines cannot wait for each other:
  /// lets the next one begin, when those before it have theirs. `shared_too`: node 0 has prepared the folder that nodes
  /// may share.
  void prepare_next(bool shared_too);
  void launch(const Rendezvous& rendezvous);
  void stop(const GangStop& how);  ///< again: with the later signal
  void warn();
  void signal(const GangSignal& signal);
  void conclude(bool retry);
  void leave();

  /// Sends what is due; decides who is lost. Call after every wake-up.
  void tick(std::uint64_t now);
  [[nodiscard]] std::uint64_t next_deadline() const;

  [[nodiscard]] const std::vector<Node>& nodes() const { return nodes_; }  ///< without node 0
  [[nodiscard]] std::string own_address() const;                           ///< as the nodes reach this machine
  [[nodiscard]] std::chrono::milliseconds silence() const { return member_.silence; }

  // What all nodes that are not lost have come to in this attempt
  [[nodiscard]] bool ready() const;    ///< to start their ranks; none is missing
  [[nodiscard]] bool settled() const;  ///< all their ranks have ended
  [[nodiscard]] bool drained() const;  ///< and nothing of them is left
  [[nodiscard]] bool ended() const;    ///< and their records are complete

 private:
  struct Peer {
    std::unique_ptr<GangLink> link;
    int node = 0;  ///< 0: not known yet
    std::uint64_t since = 0;
  };
  GangLead(Reactor& reactor, format::RunPaths run, Membership member)
      : reactor_(reactor), run_(std::move(run)), member_(std::move(member)) {}
  Result<> listen();
  void accept();
  void on_message(int peer, std::string_view text);
  void on_closed(int peer);
  bool greet(int peer, const GangHello& hello);
  void take(int node, NodeReport report);
  void order(Node& node, const GangOrder& order);
  void send(int node);
  void beat(std::uint64_t now);
  [[nodiscard]] bool reached(NodeStep step) const;

  Reactor& reactor_;
  format::RunPaths run_;
  Membership member_;
  std::optional<PortReservation> port_;  ///< keeps other runs of this user from it
  base::UniqueFd listener_;
  std::map<int, Peer> peers_;
  int next_peer_ = 1;
  std::vector<Node> nodes_;
  std::map<int, GangOrder> orders_;            ///< by node
  std::map<int, std::int64_t> clock_offsets_;  ///< ours minus theirs, the smallest seen: the quickest message
  std::string own_address_;
  std::uint64_t next_beat_ = 0;
};

}  // namespace trainctl::host
