// SPDX-License-Identifier: Apache-2.0
#include "host/distribution/ports.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/random.hpp"
#include "host/admission/slot_folder.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr int kFirst = 20000;  // below are well-known servers, above Kubernetes' node ports
constexpr int kLast = 29999;
constexpr std::uint64_t kTailBytes = 64U << 10U;

struct Range {
  int first = kFirst;
  int last = kLast;
};

/// kFirst … kLast, or what lies outside the range of outgoing connections when that covers it.
Range usable_range() {
  const auto text = base::read_file("/proc/sys/net/ipv4/ip_local_port_range", 256);
  int low = 32768;
  int high = 60999;
  if (text) {
    const char* end = text->data() + text->size();
    const auto first = std::from_chars(text->data(), end, low);
    const char* at = first.ptr;
    while (at < end && (*at == ' ' || *at == '\t')) ++at;
    std::from_chars(at, end, high);
  }
  if (low > kLast || high < kFirst) return {};
  if (low - kFirst >= 1000) return {kFirst, low - 1};
  if (65535 - high >= 1000) return {high + 1, 65535};
  return {};  // everything is given to outgoing connections: as good as any
}

enum class Reuse { no, yes };

/// A socket bound to the port on every address.
base::UniqueFd bind_port(int family, int port, Reuse reuse) {
  base::UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fd;
  const int on = 1;
  if (reuse == Reuse::yes) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  int bound = 0;
  if (family == AF_INET6) {
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(static_cast<std::uint16_t>(port));
    bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  } else {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  if (bound != 0) fd.reset();
  return fd;
}

/// Nobody is bound there, on IPv4 and, where the machine has it, on IPv6.
bool is_free(int port) {
  if (!bind_port(AF_INET, port, Reuse::no)) return false;
  return bind_port(AF_INET6, port, Reuse::no) || !bind_port(AF_INET6, 0, Reuse::no);
}

/// A lock on the byte `port`: it belongs to the open file, so processes that inherit the descriptor keep it.
bool claim(int fd, int port) {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = port;
  lock.l_len = 1;
  return ::fcntl(fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES);
}

Result<base::UniqueFd> open_claims(const std::filesystem::path& folder) {
  TRY_ASSIGN(const auto at, open_slot_folder(folder, true));
  base::UniqueFd fd(::openat(at.get(), "ports", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail_errno("open " + (folder / "ports").string(), errno);
  return fd;
}

}  // namespace

Result<PortReservation> PortReservation::choose(std::size_t count, const std::filesystem::path& folder) {
  PortReservation made;
  TRY_ASSIGN(made.claim_, open_claims(folder));
  const Range range = usable_range();
  const int width = range.last - range.first + 1;
  std::uint32_t random = 0;
  base::fill_random(&random, sizeof random);
  const int begin = static_cast<int>(random % static_cast<std::uint32_t>(width));
  for (int i = 0; i < width && made.ports_.size() < count; ++i) {
    const int port = range.first + (begin + i) % width;
    if (!is_free(port) || !claim(made.claim_.get(), port)) continue;
    base::UniqueFd held = bind_port(AF_INET, port, Reuse::yes);
    if (!held) continue;
    made.ports_.push_back(port);
    made.sockets_.push_back(std::move(held));
  }
  if (made.ports_.size() == count) return made;
  return fail(Errc::cannot_start, "this machine has no " + std::to_string(count) + " free ports from " +
                                      std::to_string(range.first) + " to " + std::to_string(range.last));
}

int occupied_port(const std::vector<int>& ports) {
  for (const int port : ports) {
    // What a server of ours left behind (TIME_WAIT) does not refuse SO_REUSEADDR; a listener does.
    if (!bind_port(AF_INET, port, Reuse::yes)) return port;
  }
  return 0;
}

int taken_port(const std::vector<int>& ports, const std::vector<std::filesystem::path>& logs) {
  for (const auto& log : logs) {
    if (!says_address_in_use(log)) continue;
    if (const int port = occupied_port(ports); port != 0) return port;
    for (const int port : ports) {
      if (says_address_in_use(log, port)) return port;
    }
  }
  return 0;
}

bool says_address_in_use(const std::filesystem::path& log, int port) {
  const std::uint64_t size = base::file_size(log).value_or(0);
  const std::uint64_t from = size - std::min(size, kTailBytes);
  const auto tail = base::read_range(log, from, size - from);
  if (!tail) return false;
  const bool in_use =
      tail->find("ddress already in use") != std::string::npos || tail->find("EADDRINUSE") != std::string::npos;
  return in_use && (port == 0 || tail->find(std::to_string(port)) != std::string::npos);
}

}  // namespace trainctl::host
