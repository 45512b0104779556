// SPDX-License-Identifier: Apache-2.0
#include "engine/tunnel.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

constexpr int kBacklog = 64;
constexpr int kReapMs = 500;  ///< how soon the end of a carrier is noticed
constexpr std::size_t kAtOnce = 4096;

/// Complete lines of `pending` and of what can be read now.
void read_lines(int fd, std::string& pending, const std::function<void(std::string_view)>& told) {
  std::array<char, kAtOnce> buffer;  // NOLINT: filled by read
  for (ssize_t count = 0; (count = ::read(fd, buffer.data(), buffer.size())) > 0;)
    pending.append(buffer.data(), static_cast<std::size_t>(count));
  for (std::size_t end = 0; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
    std::string_view line = std::string_view(pending).substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) told(line);
  }
  if (pending.size() > kAtOnce) pending.clear();  // nothing that a person could read
}

}  // namespace

Result<Tunnel> Tunnel::listen(int port) {
  base::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("make a socket", errno);
  const int yes = 1;
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  socklen_t size = sizeof address;
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  if (::bind(fd.get(), raw, size) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    const int problem = errno;
    const std::string where = "port " + std::to_string(port) + " of this machine";
    if (problem == EADDRINUSE)
      return fail(Errc::invalid, where + " is taken", "choose another one here: PORT:REMOTE_PORT; 0 is any");
    return fail_errno("listen on " + where, problem);
  }
  if (::getsockname(fd.get(), raw, &size) != 0) return fail_errno("ask for the port", errno);
  return Tunnel(std::move(fd), ntohs(address.sin_port));
}

Result<> Tunnel::serve(const std::vector<std::string>& carrier, int stop,
                       const std::function<void(std::string_view)>& told) {
  TRY_ASSIGN(const auto errors, base::make_pipe());
  if (::fcntl(errors.read.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno("set up a pipe", errno);
  std::string pending;
  for (;;) {
    std::array<pollfd, 3> waits = {pollfd{stop, POLLIN, 0}, pollfd{listener_.get(), POLLIN, 0},
                                   pollfd{errors.read.get(), POLLIN, 0}};
    ::poll(waits.data(), waits.size(), carriers_.empty() ? -1 : kReapMs);
    if (waits[0].revents != 0) return {};
    std::erase_if(carriers_, [](base::SpawnedChild& child) { return child.ended() || child.reap(WNOHANG); });
    TRY(accept_all(carrier, errors.write.get()));
    read_lines(errors.read.get(), pending, told);
  }
}

Result<> Tunnel::accept_all(const std::vector<std::string>& carrier, int errors) {
  for (;;) {
    const base::UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!peer) return {};
    TRY_ASSIGN(const pid_t pid, base::spawn({.argv = carrier}, {.in = peer.get(), .out = peer.get(), .err = errors}));
    carriers_.emplace_back(pid);
  }
}

}  // namespace trainctl::engine
