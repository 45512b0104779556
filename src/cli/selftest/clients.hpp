// SPDX-License-Identifier: Apache-2.0
// `trainctl` commands as a user would type them, in a store of their own: what `trainctl selftest` starts, kills and
// cuts off.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/child_process.hpp"
#include "base/process.hpp"
#include "cli/selftest/workload.hpp"
#include "cli/signals.hpp"
#include "format/paths.hpp"

namespace trainctl::cli::selftest {

class Clients {
 public:
  /// `patience` is how long one step may take, a queue included. The store is a new folder inside of `parent`.
  static Result<Clients> create(const std::filesystem::path& parent, std::string target,
                                std::chrono::milliseconds patience);

  /// Runs `trainctl ARGUMENTS` to its end.
  [[nodiscard]] Result<base::CommandOutput> run(const std::vector<std::string>& arguments) const;
  /// The same with --json; what it printed. Another exit code than `exit_code` is an error with its words.
  [[nodiscard]] Result<Json> ask(std::vector<std::string> arguments, int exit_code = 0) const;
  /// Starts `trainctl ARGUMENTS`.
  [[nodiscard]] Result<base::ChildProcess> start(const std::vector<std::string>& arguments) const;

  /// Writes the file that `submit` is given.
  Result<std::string> configuration(const Workload& workload);

  /// Ends the connections that these commands share (they have their own, so that nobody else's is cut). How many.
  [[nodiscard]] int cut_connections() const;
  /// Ends them for good.
  [[nodiscard]] Result<> leave() const;

  [[nodiscard]] const format::StorePaths& store() const { return store_; }
  [[nodiscard]] std::chrono::milliseconds patience() const { return patience_; }
  /// Errc::canceled once the person pressed Ctrl-C.
  [[nodiscard]] Result<> check_signals() const;

 private:
  Clients() = default;
  [[nodiscard]] base::Command command(const std::vector<std::string>& arguments) const;

  format::StorePaths store_;
  std::filesystem::path runtime_;  ///< their XDG_RUNTIME_DIR; empty when none could be made
  std::string target_;
  std::chrono::milliseconds patience_{};
  std::vector<std::string> environment_;
  std::string program_;
  std::unique_ptr<SignalInbox> signals_;
  int written_ = 0;
};

/// A command that follows a run, and what it has shown so far.
class Following {
 public:
  Following(const Clients& clients, base::ChildProcess child) : clients_(&clients), child_(std::move(child)) {}

  /// Reads until it has shown `bytes` (true) or has ended (false).
  Result<bool> read_until(std::size_t bytes);
  /// Reads to its end; the exit code.
  Result<int> finish();
  void kill() { child_.kill(); }
  /// Kills what stands between it and the target: the connections, and its own children (ssh, a local runner). How many
  /// there were.
  [[nodiscard]] int cut_off() const;

  [[nodiscard]] const std::string& shown() const { return shown_; }
  [[nodiscard]] std::string errors() { return child_.errors(); }

 private:
  const Clients* clients_;
  base::ChildProcess child_;
  std::string shown_;
};

}  // namespace trainctl::cli::selftest
