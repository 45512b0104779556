// SPDX-License-Identifier: Apache-2.0
// Copies the growth of a run on another target into the store while a command watches.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "engine/supervision.hpp"
#include "format/paths.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

/// Watches one run in a thread of its own and writes what comes into its folder, through broken connections, until the
/// run has ended or this object goes. While another process mirrors the run, it waits to take over.
class Mirroring {
 public:
  /// Empty for a run that grows in place. With Start::allowed a run that was never launched is launched first.
  static Result<std::unique_ptr<Mirroring>> begin(const format::RunPaths& run, Start start);
  Mirroring(const Mirroring&) = delete;
  Mirroring& operator=(const Mirroring&) = delete;
  ~Mirroring();

  /// Why nothing is heard of the run now. Errc::unavailable is tried again and again; after any other error (a changed
  /// host key, a full disk here) the copy grows no more.
  struct Trouble {
    Error error;
    std::uint64_t since_ns = 0;  ///< base::mono_ns
  };
  [[nodiscard]] std::optional<Trouble> trouble() const;
  [[nodiscard]] const std::string& target_name() const { return target_name_; }

 private:
  Mirroring(format::RunPaths run, std::string target_name, std::unique_ptr<target::Target> target,
            target::Cancel cancel, Start start);
  void loop();
  Result<bool> once();
  Result<> start_if_wanted();
  void heard();
  void failed(const Error& error);

  format::RunPaths run_;
  std::string target_name_;
  std::unique_ptr<target::Target> target_;
  target::Cancel cancel_;
  Start start_;
  mutable std::mutex mutex_;
  std::optional<Trouble> trouble_;
  std::thread thread_;
};

}  // namespace trainctl::engine
