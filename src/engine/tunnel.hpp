// SPDX-License-Identifier: Apache-2.0
// A port of this machine behind which each connection is carried by a program of its own.
#pragma once

#include <sys/types.h>

#include <functional>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/os/linux/spawn.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

class Tunnel {
 public:
  /// Listens on 127.0.0.1: nobody but this machine may use it. `port` 0 is any that is free. Errc::invalid when it is
  /// taken.
  static Result<Tunnel> listen(int port);

  [[nodiscard]] int port() const { return port_; }

  /// Carries every connection with a process of `carrier` (engine::way_to_port) until `stop` is readable. Those that
  /// are open then end with this object. `told` gets the lines that carriers write to stderr.
  Result<> serve(const std::vector<std::string>& carrier, int stop, const std::function<void(std::string_view)>& told);

 private:
  Tunnel(base::UniqueFd listener, int port) : listener_(std::move(listener)), port_(port) {}
  Result<> accept_all(const std::vector<std::string>& carrier, int errors);

  base::UniqueFd listener_;
  int port_ = 0;
  std::list<base::SpawnedChild> carriers_ = {};  ///< killed when the tunnel goes
};

}  // namespace trainctl::engine
