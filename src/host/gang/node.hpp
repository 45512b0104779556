// SPDX-License-Identifier: Apache-2.0
// The end of the gang channel on every node but 0: connects, again and again, hears what to do and tells how it is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "host/gang/link.hpp"
#include "host/gang/membership.hpp"
#include "host/gang/messages.hpp"

namespace trainctl::host {

class GangNode {
 public:
  GangNode(Reactor& reactor, format::RunPaths run, Membership member);

  /// What to tell; goes out when it differs from what was told, and with every heartbeat.
  void report(NodeReport report);
  /// The last word of node 0.
  [[nodiscard]] const GangOrder& order() const { return order_; }
  [[nodiscard]] bool heard() const { return heard_; }  ///< since this supervisor began
  /// Nothing was heard for longer than the gang's silence.
  [[nodiscard]] bool forsaken(std::uint64_t now) const;
  [[nodiscard]] bool connected() const { return link_ && link_->trusted(); }
  [[nodiscard]] bool flushed() const { return link_ && link_->flushed(); }
  /// Why the last try to connect failed: "10.0.0.1 port 20017: Connection refused".
  [[nodiscard]] const std::string& problem() const { return problem_; }
  [[nodiscard]] std::string own_address() const { return connected() ? link_->own_address() : std::string(); }
  [[nodiscard]] std::chrono::milliseconds silence() const { return member_.silence; }

  void tick(std::uint64_t now);
  [[nodiscard]] std::uint64_t next_deadline() const;

 private:
  void connect(std::uint64_t now);
  void on_message(std::string_view text);
  void on_closed(const std::string& why);
  void tell();
  [[nodiscard]] LeadPlace place() const;
  Reactor& reactor_;
  format::RunPaths run_;
  Membership member_;
  std::unique_ptr<GangLink> link_;
  std::size_t next_address_ = 0;
  std::string address_;  ///< of node 0, being tried or in use
  std::string problem_;
  GangOrder order_;
  NodeReport report_;
  std::string told_;
  bool heard_ = false;
  std::uint64_t heard_at_ = 0;
  std::uint64_t next_beat_ = 0;
  std::uint64_t next_try_ = 0;
  std::uint64_t give_up_try_at_ = kNever;
};

}  // namespace trainctl::host
