// SPDX-License-Identifier: Apache-2.0
// Sockets and addresses of this machine, without a resolver: everything is numeric.
#pragma once

#include <string>
#include <vector>

#include "base/fd.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

enum class SocketEnd { own, other };
/// The numeric address of one end of a connection; an IPv4 address is written as one also on an IPv6 socket.
std::string address_of_socket(int socket, SocketEnd end);

/// A socket that begins to connect to a numeric address. Errc::invalid when it is none, Errc::unavailable when the
/// machine has no way there.
Result<base::UniqueFd> begin_connect(const std::string& address, int port);
/// A listening socket on all addresses of this machine.
Result<base::UniqueFd> begin_listen(int port);
/// The next connection, not blocking; invalid when there is none.
base::UniqueFd accept_link(int listener);

/// The addresses of this machine that others may reach: of interfaces that are up, without loopback and link-local.
std::vector<std::string> own_addresses();
/// The interface that has this address; empty when none has.
std::string interface_of(const std::string& address);

}  // namespace trainctl::host
