// SPDX-License-Identifier: Apache-2.0
// One connection of the gang channel in the reactor. Numeric addresses only: the runner has no resolver.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "host/gang/codec.hpp"
#include "host/supervisor/reactor.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

class GangLink {
 public:
  struct Handlers {
    std::function<void(std::string_view message)> message;
    /// Once; `why` is empty when the other side closed. The link may be destroyed in it.
    std::function<void(const std::string& why)> closed;
  };

  /// Takes a connected or connecting socket.
  GangLink(Reactor& reactor, base::UniqueFd socket, GangSide side, const std::string& key, Handlers handlers);
  ~GangLink();
  GangLink(const GangLink&) = delete;
  GangLink& operator=(const GangLink&) = delete;

  /// Sends now or, while the connection is being made or is full, later. Of messages that wait only the last is sent:
  /// each replaces the one before.
  void send(std::string message);
  /// Messages go out: what was sent before this was true has been the first.
  [[nodiscard]] bool ready() const { return codec_.ready(); }
  [[nodiscard]] bool trusted() const { return codec_.trusted(); }
  [[nodiscard]] bool open() const { return static_cast<bool>(socket_); }
  /// All that was to be sent has gone to the kernel.
  [[nodiscard]] bool flushed() const { return out_.empty() && !waiting_; }
  [[nodiscard]] std::string own_address() const;
  [[nodiscard]] std::string peer_address() const;

 private:
  void on_ready();
  bool read_some();
  void write_some();
  void close(const std::string& why);
  void watch(bool writable);
  Reactor& reactor_;
  base::UniqueFd socket_;
  GangCodec codec_;
  Handlers handlers_;
  std::string out_;
  std::optional<std::string> waiting_;
  bool connecting_ = true;
  bool watches_writable_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace trainctl::host
