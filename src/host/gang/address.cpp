// SPDX-License-Identifier: Apache-2.0
#include "host/gang/address.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr int kBacklog = 128;

struct Address {
  sockaddr_storage bytes{};
  socklen_t size = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes); }
};

Result<Address> parse_address(const std::string& text, int port) {
  Address made;
  sockaddr_in four{};
  if (::inet_pton(AF_INET, text.c_str(), &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = htons(static_cast<std::uint16_t>(port));
    std::memcpy(&made.bytes, &four, sizeof four);
    made.size = sizeof four;
    return made;
  }
  sockaddr_in6 six{};
  if (::inet_pton(AF_INET6, text.c_str(), &six.sin6_addr) == 1) {
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(static_cast<std::uint16_t>(port));
    std::memcpy(&made.bytes, &six, sizeof six);
    made.size = sizeof six;
    return made;
  }
  return fail(Errc::invalid, "\"" + text + "\" is not a numeric address", "write it as 10.0.0.1 or fd00::1");
}

std::string to_text(const sockaddr* address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address->sa_family == AF_INET) {
    sockaddr_in four{};
    std::memcpy(&four, address, sizeof four);
    ::inet_ntop(AF_INET, &four.sin_addr, text.data(), text.size());
  } else if (address->sa_family == AF_INET6) {
    sockaddr_in6 six{};
    std::memcpy(&six, address, sizeof six);
    if (IN6_IS_ADDR_V4MAPPED(&six.sin6_addr)) {
      ::inet_ntop(AF_INET, &six.sin6_addr.s6_addr[12], text.data(), text.size());
    } else {
      ::inet_ntop(AF_INET6, &six.sin6_addr, text.data(), text.size());
    }
  }
  return text.data();
}

bool is_link_local(const std::string& address) {
  return address.starts_with("fe80:") || address.starts_with("169.254.");
}

struct FreeInterfaces {
  void operator()(ifaddrs* first) const { ::freeifaddrs(first); }
};
using Interfaces = std::unique_ptr<ifaddrs, FreeInterfaces>;

Interfaces interfaces() {
  ifaddrs* first = nullptr;
  return Interfaces(::getifaddrs(&first) == 0 ? first : nullptr);
}

}  // namespace

std::string address_of_socket(int socket, SocketEnd end) {
  Address found;
  found.size = sizeof found.bytes;
  auto* bytes = reinterpret_cast<sockaddr*>(&found.bytes);
  const int got =
      end == SocketEnd::own ? ::getsockname(socket, bytes, &found.size) : ::getpeername(socket, bytes, &found.size);
  return got == 0 ? to_text(found.get()) : std::string();
}

Result<base::UniqueFd> begin_connect(const std::string& address, int port) {
  TRY_ASSIGN(const Address to, parse_address(address, port));
  base::UniqueFd fd(::socket(to.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("make a socket", errno);
  if (::connect(fd.get(), to.get(), to.size) != 0 && errno != EINPROGRESS)
    return fail(Errc::unavailable, errno_text(errno));
  return fd;
}

Result<base::UniqueFd> begin_listen(int port) {
  const int on = 1;
  const int off = 0;
  for (const int family : {AF_INET6, AF_INET}) {
    base::UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) continue;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    auto any = parse_address(family == AF_INET6 ? "::" : "0.0.0.0", port);
    if (any && ::bind(fd.get(), any->get(), any->size) == 0 && ::listen(fd.get(), kBacklog) == 0) return fd;
  }
  return fail_errno("listen on port " + std::to_string(port), errno);
}

base::UniqueFd accept_link(int listener) {
  return base::UniqueFd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> four;
  std::vector<std::string> six;
  const Interfaces all = interfaces();
  for (const ifaddrs* one = all.get(); one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || (one->ifa_flags & IFF_UP) == 0 || (one->ifa_flags & IFF_LOOPBACK) != 0) continue;
    const std::string address = to_text(one->ifa_addr);
    if (address.empty() || is_link_local(address)) continue;
    (one->ifa_addr->sa_family == AF_INET ? four : six).push_back(address);
  }
  four.insert(four.end(), six.begin(), six.end());
  return four;
}

std::string interface_of(const std::string& address) {
  const Interfaces all = interfaces();
  for (const ifaddrs* one = all.get(); one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr != nullptr && to_text(one->ifa_addr) == address) return one->ifa_name;
  }
  return {};
}

}  // namespace trainctl::host
