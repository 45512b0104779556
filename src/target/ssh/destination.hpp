// SPDX-License-Identifier: Apache-2.0
// What names an SSH host: user@host, an alias of ssh_config, either with :port. Nothing else reaches ssh's command
// line.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::target {

struct Destination {
  std::string address;  ///< [user@]host as ssh takes it
  std::optional<int> port = {};
  friend bool operator==(const Destination&, const Destination&) = default;
};

/// Letters, digits and . _ : @ % - only, and nothing that ssh could take for an option. Errc::invalid says what is
/// wrong.
Result<Destination> parse_destination(std::string_view text);

struct SshOptions {
  Destination destination;
  std::optional<std::filesystem::path> config = {};          ///< -F
  bool accept_new_host_keys = false;                         ///< of hosts that were never seen; a changed one never
  bool program = false;                                      ///< a person's: nothing but its own words on stderr
  bool terminal = false;                                     ///< … with a terminal there
  std::string forward = {};                                  ///< -W: host:port; no program there
  bool only_share = false;                                   ///< -N: only the connection that others share
  bool ask_master = false;                                   ///< -O check: succeeds when there is one that answers
  std::optional<std::string> ciphers = {};                   ///< of a connection that is not there yet
  std::optional<std::filesystem::path> control_folder = {};  ///< of shared connections; unset: a connection of its own
};

/// The words of `ssh`, before the remote command. Ours come first, as the first value of an option wins; nothing here
/// weakens what the user's configuration says about host keys, unless the target's definition asks for it.
std::vector<std::string> ssh_command(const SshOptions& options);

/// Does ssh_config say something of that very name, or the resolver know it? What a `Host *` says of every name is no
/// sign of a host. Runs `ssh -G`; a resolver that does not answer in seconds counts as a yes, and ssh will tell.
bool is_known_host(const std::string& name);

}  // namespace trainctl::target
