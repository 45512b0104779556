// SPDX-License-Identifier: Apache-2.0
#include "target/ssh/destination.hpp"

#include <charconv>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/process.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

constexpr int kHighestPort = 65535;
constexpr std::size_t kLongest = 255;
constexpr std::chrono::seconds kResolverPatience{5};

/// A user may be called me@example.org.
bool is_plain(std::string_view text) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:%@-";
  return !text.empty() && text.front() != '-' && text.size() <= kLongest &&
         text.find_first_not_of(kAllowed) == std::string_view::npos;
}

std::optional<int> parse_port(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port < 1 || port > kHighestPort) return std::nullopt;
  return port;
}

struct HostAndPort {
  std::string_view host;
  std::optional<std::string_view> port = {};
};

/// One colon is a port, more are an IPv6 address, which stands in brackets where a port follows.
HostAndPort split_port(std::string_view text) {
  const std::size_t end = text.starts_with('[') ? text.find(']') : std::string_view::npos;
  if (end != std::string_view::npos && text.find(':') < end) {
    const std::string_view behind = text.substr(end + 1);
    if (behind.empty()) return {.host = text.substr(1, end - 1)};
    return behind.front() == ':' ? HostAndPort{text.substr(1, end - 1), behind.substr(1)} : HostAndPort{text};
  }
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || text.find(':', colon + 1) != std::string_view::npos) return {.host = text};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

/// A program of its own: getaddrinfo knows no deadline, and waits long for a resolver that is not there.
bool resolves(const std::string& name) {
  const auto found = base::run_command({.argv = {"getent", "ahosts", name}, .deadline = kResolverPatience});
  return found ? found->exit_code == 0 : found.error().code == Errc::timeout;
}

/// What ssh_config makes of a name.
struct Settings {
  std::string host;
  std::string way;  ///< through which other host or program
  friend bool operator==(const Settings&, const Settings&) = default;
};

std::optional<Settings> settings_of(const std::string& name) {
  const auto shown = base::run_command({.argv = {"ssh", "-G", "--", name}});
  if (!shown || shown->exit_code != 0) return std::nullopt;
  Settings settings{.host = name, .way = {}};
  for (const std::string& line : base::split(shown->out, '\n')) {
    if (line.starts_with("proxyjump ") || line.starts_with("proxycommand ")) settings.way += line + "\n";
    if (line.starts_with("hostname ")) settings.host = line.substr(std::string_view("hostname ").size());
  }
  return settings;
}

/// The same for a name that nobody has: what ssh_config says of all.
std::optional<Settings> settings_of_all(const std::string& name) {
  const std::string nobody = "nobody-has-this-name-" + base::random_hex(4);
  auto settings = settings_of(nobody);
  if (!settings) return std::nullopt;
  const std::size_t at = settings->host.find(nobody);  // HostName %h.example.org
  if (at != std::string::npos) settings->host.replace(at, nobody.size(), base::to_lower(name));
  return settings;
}

}  // namespace

Result<Destination> parse_destination(std::string_view text) {
  const auto wrong = [&text](const std::string& why) {
    return fail(Errc::invalid, "\"" + std::string(text) + "\" is not an SSH host: " + why,
                "write user@host, user@host:port or an alias of your ssh_config");
  };
  const std::size_t at = text.rfind('@');
  const std::string_view user = at == std::string_view::npos ? "" : text.substr(0, at);
  std::string_view host = at == std::string_view::npos ? text : text.substr(at + 1);
  Destination destination;
  const HostAndPort parts = split_port(host);
  if (parts.port) {
    destination.port = parse_port(*parts.port);
    if (!destination.port) return wrong("the port is a number from 1 to 65535");
  }
  host = parts.host;
  if (!is_plain(host)) return wrong("a host has letters, digits and . _ : % - and does not begin with -");
  if (at != std::string_view::npos && !is_plain(user))
    return wrong("a user has letters, digits and . _ : % - and does not begin with -");
  destination.address = at == std::string_view::npos ? std::string(host) : std::string(user) + "@" + std::string(host);
  return destination;
}

std::vector<std::string> ssh_command(const SshOptions& options) {
  std::vector<std::string> argv = {"ssh", options.terminal ? "-t" : "-T"};
  if (options.config) argv.insert(argv.end(), {"-F", options.config->string()});
  for (const char* option : {"BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=3",
                             "ClearAllForwardings=yes", "PermitLocalCommand=no", "RemoteCommand=none"}) {
    argv.insert(argv.end(), {"-o", option});
  }
  if (options.accept_new_host_keys) argv.insert(argv.end(), {"-o", "StrictHostKeyChecking=accept-new"});
  // Whoever started a program is not told of banners, nor that "Shared connection to HOST closed".
  argv.insert(argv.end(), {"-o", options.program ? "LogLevel=ERROR" : "LogLevel=INFO"});
  if (options.ciphers) argv.insert(argv.end(), {"-o", "Ciphers=" + *options.ciphers});
  if (!options.forward.empty()) argv.insert(argv.end(), {"-W", options.forward});
  if (options.only_share) argv.emplace_back("-N");
  if (options.ask_master) argv.insert(argv.end(), {"-O", "check"});
  if (options.control_folder) {
    argv.insert(argv.end(), {"-o", "ControlMaster=auto", "-o", "ControlPersist=300", "-o",
                             "ControlPath=" + (*options.control_folder / "%C").string()});
  } else {
    argv.insert(argv.end(), {"-o", "ControlMaster=no", "-o", "ControlPath=none"});
  }
  if (options.destination.port) argv.insert(argv.end(), {"-p", std::to_string(*options.destination.port)});
  argv.insert(argv.end(), {"--", options.destination.address});
  return argv;
}

bool is_known_host(const std::string& name) {
  const auto settings = settings_of(name);
  if (!settings) return false;
  const bool said = !settings->way.empty() || settings->host != base::to_lower(name);
  if (said && settings != settings_of_all(name)) return true;
  return resolves(settings->host);
}

}  // namespace trainctl::target
