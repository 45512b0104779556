// SPDX-License-Identifier: Apache-2.0
// How the runner of a host is reached: as a child of ours, or through ssh. A channel knows nothing of the protocol.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/child_process.hpp"
#include "base/json.hpp"
#include "target/cancel.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {

/// The program that carries the bytes, and what of them was read already behind its greeting: the runner's first.
struct Connection {
  base::ChildProcess process;
  std::string early = {};
  bool took_first = false;  ///< the runner has what connect() was given for it
};

class Channel {
 public:
  Channel() = default;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  virtual ~Channel() = default;

  /// Starts a runner that serves the host's store: what comes next from it is its hello. With a deadline of its own.
  /// Errc::unavailable, retryable, when the host cannot be reached now; denied, invalid or cannot_start when trying
  /// again cannot help; canceled.
  ///
  /// `first` is what will be sent before anything else. A channel that can bring it along unseen saves a round trip,
  /// and says so in the connection.
  virtual Result<Connection> connect(const Cancel& cancel, std::string_view first) = 0;

  /// Goes as much of the way to a host as says whether it can be reached, where connect() then takes hardly longer than
  /// with a connection that is kept. False, and nothing is done, where it would. Errors as connect().
  virtual Result<bool> approach(const Cancel& /*cancel*/) { return false; }

  /// The hello of the runner that connect() has brought.
  virtual void greeted(const Json& /*hello*/) {}

  /// Why a connection ended that was not closed by us. `exit_code` is unset while the carrying program still runs,
  /// `errors` what it wrote to stderr.
  [[nodiscard]] virtual Error explain(std::optional<int> exit_code, const std::string& errors) const = 0;

  /// The command line, to be executed here, that becomes the program `words` on the host, with a terminal there or
  /// without; its exit code and streams are the program's. Errc::invalid where that is not possible.
  [[nodiscard]] virtual Result<std::vector<std::string>> program(const std::vector<std::string>& /*words*/,
                                                                 bool /*terminal*/) const {
    return fail(Errc::invalid, host() + " takes no other programs");
  }

  /// The command line whose stdin and stdout are a connection to `port` of the host's loopback. Errc::invalid where
  /// that is not possible or not needed.
  [[nodiscard]] virtual Result<std::vector<std::string>> forward(int /*port*/) const {
    return fail(Errc::invalid, "no tunnel is needed: " + host() + " is the run's");
  }

  /// The host as a person calls it.
  [[nodiscard]] virtual std::string host() const = 0;
};

}  // namespace trainctl::target
