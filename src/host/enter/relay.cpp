// SPDX-License-Identifier: Apache-2.0
#include "host/enter/relay.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::size_t kAtOnce = 64U << 10U;
constexpr short kSomething = POLLIN | POLLHUP | POLLERR;

base::UniqueFd connect_to(const sockaddr* address, socklen_t size) {
  base::UniqueFd fd(::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), address, size) != 0) return {};
  const int yes = 1;
  (void)::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  return fd;
}

/// 127.0.0.1, else ::1: some servers take only one of them.
Result<base::UniqueFd> connect_to_port(int port) {
  sockaddr_in four{};
  four.sin_family = AF_INET;
  four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  four.sin_port = htons(static_cast<std::uint16_t>(port));
  auto fd = connect_to(reinterpret_cast<const sockaddr*>(&four), sizeof four);
  const int problem = errno;
  if (fd) return fd;
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_addr = in6addr_loopback;
  six.sin6_port = htons(static_cast<std::uint16_t>(port));
  fd = connect_to(reinterpret_cast<const sockaddr*>(&six), sizeof six);
  if (fd) return fd;
  const std::string where = "port " + std::to_string(port) + " of " + base::host_name();
  if (problem == ECONNREFUSED) return fail(Errc::unavailable, "nothing listens on " + where);
  return fail_errno("connect to " + where, problem);
}

/// What can be read at once; false at its end, and when the other side is gone.
bool hand_on(int from, int to) {
  std::array<char, kAtOnce> buffer;  // NOLINT: filled by read
  ssize_t count = 0;
  do {
    count = ::read(from, buffer.data(), buffer.size());
  } while (count < 0 && errno == EINTR);
  return count > 0 && base::write_all(to, {buffer.data(), static_cast<std::size_t>(count)}).has_value();
}

}  // namespace

Result<> relay(int port) {
  TRY_ASSIGN(const auto peer, connect_to_port(port));
  (void)std::signal(SIGPIPE, SIG_IGN);
  bool open = true;
  for (;;) {
    std::array<pollfd, 2> waits = {pollfd{open ? STDIN_FILENO : -1, POLLIN, 0}, pollfd{peer.get(), POLLIN, 0}};
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return fail_errno("wait for data", errno);
    if ((waits[0].revents & kSomething) != 0 && !hand_on(STDIN_FILENO, peer.get())) {
      open = false;
      ::shutdown(peer.get(), SHUT_WR);
    }
    if ((waits[1].revents & kSomething) != 0 && !hand_on(peer.get(), STDOUT_FILENO)) return {};
  }
}

}  // namespace trainctl::host
