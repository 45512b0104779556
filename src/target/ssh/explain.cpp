// SPDX-License-Identifier: Apache-2.0
#include "target/ssh/explain.hpp"

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "trainctl/error.hpp"

namespace trainctl::target {
namespace {

struct Known {
  std::string_view said;  ///< by ssh
  Errc code;
  std::string_view message;  ///< %h is the host
  std::string_view hint;
};

constexpr std::array kKnown = {
    Known{"REMOTE HOST IDENTIFICATION HAS CHANGED", Errc::denied,
          "the host key of %h is not the one you know: somebody may stand between you and it",
          "only if you know why it changed: remove the old key (ssh-keygen -R HOST) and connect once by hand"},
    Known{"Host key verification failed", Errc::denied, "the host key of %h is not known here",
          "connect once by hand, compare the key and accept it: ssh %h"},
    Known{"Too many authentication failures", Errc::denied, "%h refused after too many keys",
          "name the right key with IdentityFile and IdentitiesOnly in your ssh_config"},
    Known{"Permission denied (", Errc::denied, "%h does not let you in",
          "`ssh %h` has to work without asking: add your key there (ssh-copy-id %h), or start ssh-agent"},
    Known{"Bad configuration option", Errc::invalid, "ssh refuses its configuration", "correct your ssh_config"},
    Known{"Bad owner or permissions on", Errc::invalid, "ssh refuses its configuration",
          "the file must belong to you and nobody else may write to it"},
    Known{"Can't open user config file", Errc::invalid, "ssh refuses its configuration",
          "check the target's ssh_config"},
    Known{"This account is currently not available", Errc::denied, "your account on %h has no login shell",
          "ask the administrator of the host for a shell"},
    Known{"Could not resolve hostname", Errc::unavailable, "the name %h cannot be resolved",
          "check the name, your ssh_config and the network"},
    Known{"Connection refused", Errc::unavailable, "%h refuses connections", "does sshd run there, on this port?"},
    Known{"timed out", Errc::unavailable, "%h does not answer", "is it up, and is there a way to it?"},
    Known{"No route to host", Errc::unavailable, "there is no way to %h", "check the network (VPN?)"},
    Known{"Network is unreachable", Errc::unavailable, "there is no way to %h", "check the network (VPN?)"},
};

std::string with_host(std::string_view text, const std::string& host) {
  std::string result(text);
  for (std::size_t at = result.find("%h"); at != std::string::npos; at = result.find("%h", at + host.size()))
    result.replace(at, 2, host);
  return result;
}

/// The last line that says something.
std::string last_line(std::string_view text) {
  const auto lines = base::split(text, '\n');
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    if (const auto words = base::trim(*line); !words.empty()) return base::to_utf8(words);
  }
  return {};
}

/// The line in which ssh says it.
std::string line_with(std::string_view text, std::string_view said) {
  for (const std::string& line : base::split(text, '\n')) {
    if (line.find(said) != std::string::npos) return base::to_utf8(base::trim(line));
  }
  return {};
}

Error explain_known(const Known& known, const SshEnd& end) {
  Error error{.code = known.code, .message = with_host(known.message, end.host)};
  if (known.code != Errc::denied) error.message += " (" + line_with(end.errors, known.said) + ")";
  error.hint = with_host(known.hint, end.host);
  error.retryable = known.code == Errc::unavailable;
  return error;
}

/// The session was there, and something else than our shell answered.
Error explain_refusal(const SshEnd& end) {
  Error error{.code = Errc::cannot_start,
              .message = end.host + " ended the session (exit code " + std::to_string(end.exit_code.value_or(0)) +
                         ") before a shell of ours began"};
  const std::string said = end.errors.empty() ? last_line(end.printed) : last_line(end.errors);
  if (!said.empty()) error.message += ": " + said;
  error.hint =
      "the account needs /bin/sh and a login shell that runs commands (no ForceCommand, no sftp-only, no nologin)";
  return error;
}

}  // namespace

Error explain_ssh(const SshEnd& end) {
  constexpr int kSshFailed = 255;
  for (const Known& known : kKnown) {
    const bool said = end.errors.find(known.said) != std::string::npos;
    if (said || (!end.began && end.printed.find(known.said) != std::string::npos)) return explain_known(known, end);
  }
  if (!end.began && end.exit_code && *end.exit_code != kSshFailed) return explain_refusal(end);
  Error error{.code = Errc::unavailable, .message = "the connection to " + end.host + " ended"};
  if (const std::string said = last_line(end.errors); !said.empty()) error.message += ": " + said;
  error.retryable = true;
  return error;
}

}  // namespace trainctl::target
