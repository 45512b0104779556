// SPDX-License-Identifier: Apache-2.0
// One squeue for all runs that are watched in this process, never two at a time, and seldom: controllers are shared.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "host/launchers/slurm/commands.hpp"
#include "host/launchers/slurm/observer.hpp"

namespace trainctl::host::slurm {

class Poller {
 public:
  /// Asks when it is time: at once, soon again while `lively` (a job waits or begins), then seldom. Returns true when
  /// an answer came since the last call with `seen`, which is set.
  bool poll(bool lively, std::uint64_t& seen);

  /// Of the last answer. Nothing before the first one.
  [[nodiscard]] const Snapshot& snapshot() const { return snapshot_; }
  /// The last question had no answer: the controller is down, or busy.
  [[nodiscard]] bool is_down() const { return down_; }
  /// Readable when an answer has come; -1 when none is awaited.
  [[nodiscard]] int fd() const { return question_ ? question_->fd() : -1; }
  /// Milliseconds until poll() has something to do.
  [[nodiscard]] int wait_ms() const;
  /// Something was launched or canceled: the next answers are worth having soon.
  void hurry();

 private:
  void take_answer();
  std::optional<Question> question_;
  std::uint64_t asked_ = 0;
  std::uint64_t next_ = 0;
  std::uint64_t interval_ = 0;
  std::uint64_t generation_ = 0;
  Snapshot snapshot_;
  bool down_ = false;
};

}  // namespace trainctl::host::slurm
