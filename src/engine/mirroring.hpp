// SPDX-License-Identifier: Apache-2.0
// Copies the growth of runs on other targets into the store while a command watches.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "format/paths.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

/// Watches one run in a thread of its own and writes what comes into its folder, through broken connections, until the
/// run has ended or this object goes. While another process mirrors the run, it waits to take over.
class Mirroring {
 public:
  /// Empty for a run that grows in place.
  static Result<std::unique_ptr<Mirroring>> begin(const format::RunPaths& run);
  Mirroring(const Mirroring&) = delete;
  Mirroring& operator=(const Mirroring&) = delete;
  ~Mirroring();

  /// What keeps the copy from growing now; empty while it grows or nothing is wrong. Errc::unavailable is tried again
  /// and again; after any other error the copy grows no more.
  [[nodiscard]] std::optional<Error> trouble() const;

 private:
  Mirroring(format::RunPaths run, std::unique_ptr<target::Target> target, target::Cancel cancel);
  void loop();
  Result<> once();
  void set_trouble(std::optional<Error> trouble);

  format::RunPaths run_;
  std::unique_ptr<target::Target> target_;
  target::Cancel cancel_;
  mutable std::mutex mutex_;
  std::optional<Error> trouble_;
  std::thread thread_;
};

}  // namespace trainctl::engine
