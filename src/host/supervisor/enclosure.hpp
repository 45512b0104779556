// SPDX-License-Identifier: Apache-2.0
// What a supervisor lives in that does not have its machine for itself: a job of a batch system. There is none for a
// run that was started by the process launcher.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "format/paths.hpp"
#include "format/state.hpp"
#include "host/supervisor/reactor.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// Why the batch system wants the run to go.
struct Departure {
  format::Cause cause = format::Cause::preempted;
  std::string message = {};
  std::chrono::milliseconds patience{0};  ///< until it kills everything
};

class Enclosure {
 public:
  Enclosure() = default;
  Enclosure(const Enclosure&) = delete;
  Enclosure& operator=(const Enclosure&) = delete;
  virtual ~Enclosure() = default;

  /// Makes the attempt this supervisor's; false when it is another one's: then there is nothing to do here.
  virtual Result<bool> claim(const format::AttemptPaths& attempt) = 0;
  /// Indices of the GPUs that were given to it; empty when it says nothing about GPUs.
  [[nodiscard]] virtual std::vector<int> gpus() const = 0;
  /// base::mono_ns() of its end, as far as that is known by now; kNever otherwise. With `ask` it is asked for again.
  virtual std::uint64_t ends_at(bool ask) = 0;
  /// Called after SIGTERM.
  virtual Departure departure() = 0;
  /// Called when a rank has failed: why the batch system is ending the run, if that is what it does.
  virtual std::optional<Departure> ending() = 0;
  /// An attempt ended so and is to be tried again. True: the next one comes in another enclosure, which was asked for,
  /// and this supervisor has to go. False: try again here.
  virtual bool hand_on(format::Cause cause) = 0;
};

}  // namespace trainctl::host
