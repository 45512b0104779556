// SPDX-License-Identifier: Apache-2.0
#include "host/mlflow/address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/hash.hpp"
#include "base/random.hpp"
#include "host/mlflow/api.hpp"

namespace trainctl::host {
namespace {

constexpr int kBacklog = 128;
constexpr std::array kProxies = {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"};

}  // namespace

std::string new_mlflow_token() {
  std::array<char, 16> bytes{};
  base::fill_random(bytes.data(), bytes.size());
  return base::to_hex(std::string_view(bytes.data(), bytes.size()));
}

base::UniqueFd listen_on_loopback(int port) {
  base::UniqueFd made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  const int on = 1;
  if (port != 0) ::setsockopt(made.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool fine = made && ::bind(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
                    ::listen(made.get(), kBacklog) == 0;
  return fine ? std::move(made) : base::UniqueFd();
}

int port_of(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.sin_port);
}

std::vector<std::pair<std::string, std::string>> mlflow_variables(const MlflowClientFacts& facts) {
  std::vector<std::pair<std::string, std::string>> made = {
      {kMlflowUri, "http://127.0.0.1:" + std::to_string(facts.port)},
      {"MLFLOW_RUN_ID", facts.run},
      {"MLFLOW_EXPERIMENT_ID", kExperimentId},
      {"MLFLOW_TRACKING_TOKEN", facts.token}};
  // The client's own 7 tries would hold a script up for minutes if our process were gone.
  if (facts.look_up("MLFLOW_HTTP_REQUEST_MAX_RETRIES").empty())
    made.emplace_back("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3");
  const bool proxied =
      std::any_of(kProxies.begin(), kProxies.end(), [&](const char* name) { return !facts.look_up(name).empty(); });
  if (!proxied) return made;
  for (const char* name : {"no_proxy", "NO_PROXY"}) {
    const std::string old = facts.look_up(name);
    made.emplace_back(name, old.empty() ? "127.0.0.1" : old + ",127.0.0.1");
  }
  return made;
}

}  // namespace trainctl::host
