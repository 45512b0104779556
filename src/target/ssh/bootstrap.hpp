// SPDX-License-Identifier: Apache-2.0
// The talk before the runner speaks: the script that finds or receives it, and the lines the script answers with.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "target/ssh/runner_files.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {

/// A command that every login shell understands, for the script that comes by stdin. That must be only the script until
/// it has answered: BusyBox's sh reads ahead and would take data for commands.
inline constexpr const char* kScriptCommand = "exec /bin/sh -s";

/// The command that starts the runner where it mostly lies, and else asks for the script ("script"): ssh sends nothing
/// from its stdin before the host has answered to the command, so this saves a round trip. What it carries for the
/// runner (host::carry's digits) saves another. As every login shell understands it, too. Empty for a directory that
/// cannot be written so.
std::string direct_command(std::string_view nonce, std::string_view directory, std::span<const RunnerFile> runners,
                           std::string_view carried = {});

/// Where the state of a host lies: absolute, or ~ or ~/… of the user there. Errc::invalid.
Result<> check_directory(std::string_view directory);

std::string bootstrap_script(std::string_view nonce, std::string_view directory, std::span<const RunnerFile> runners);

/// "run" (the runner says so itself, its hello follows; "run first": it has what the command carried), "script" (send
/// the script), "need ARCHITECTURE" (send the runner), "error KIND DETAIL".
struct ScriptLine {
  std::string word;
  std::string rest;
};

/// Finds the script's lines in what the host prints, whatever stands before them.
class ScriptReader {
 public:
  explicit ScriptReader(std::string_view nonce) : mark_("\nTRAINCTL-" + std::string(nonce) + " ") {}
  /// Errc::cannot_start when the host prints without end.
  Result<> feed(std::string_view bytes);
  std::optional<ScriptLine> next();
  /// What was not part of a line: noise before one, the runner's bytes behind the last.
  [[nodiscard]] const std::string& rest() const { return bytes_; }

 private:
  std::string mark_;
  std::string bytes_;
};

/// The script's "error KIND DETAIL" as an error about `host`.
Error script_error(std::string_view rest, const std::string& host, std::string_view directory);

}  // namespace trainctl::target
