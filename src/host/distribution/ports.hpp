// SPDX-License-Identifier: Apache-2.0
// Ports for the ranks of an attempt, chosen so that nobody else takes them before a rank listens there.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// Three guards, from the choice to the end of the attempt:
///  - the ports lie outside the range the kernel gives to outgoing connections and to bind(0);
///  - a lock in the slot folder keeps the runs of this user apart; the waiters hold it (`claim_fd`);
///  - until the ranks have started a socket is bound with SO_REUSEADDR and does not listen, which a server that sets
///    SO_REUSEADDR (TCPStore, gRPC, most others) may share and nobody else.
class PortReservation {
 public:
  /// `folder`: see slot_folder().
  static Result<PortReservation> choose(std::size_t count, const std::filesystem::path& folder);

  [[nodiscard]] const std::vector<int>& ports() const { return ports_; }
  [[nodiscard]] int claim_fd() const { return claim_.get(); }
  /// Lets go of the sockets: a server that does not set SO_REUSEADDR can listen now.
  void release() { sockets_.clear(); }

 private:
  std::vector<int> ports_;
  std::vector<base::UniqueFd> sockets_;
  base::UniqueFd claim_;
};

/// The first of `ports` that a program occupies. Only of use when the ranks have ended.
int occupied_port(const std::vector<int>& ports);

/// Does the end of the log say that an address was in use? `port` > 0: and name this port.
bool says_address_in_use(const std::filesystem::path& log, int port = 0);

/// The port that was taken between its choice and its use, by what the ranks wrote last and by who has it now; 0 when
/// that is not what happened. Only of use when the ranks have ended.
int taken_port(const std::vector<int>& ports, const std::vector<std::filesystem::path>& logs);

}  // namespace trainctl::host
