// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "target/cancel.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

/// A limit for blocking calls to a target: calls them off when it is over.
class Patience {
 public:
  static Result<std::unique_ptr<Patience>> begin(std::chrono::milliseconds limit);
  Patience(const Patience&) = delete;
  Patience& operator=(const Patience&) = delete;
  ~Patience();

  /// What the calls are to be given.
  [[nodiscard]] const target::Cancel& cancel() const { return cancel_; }
  [[nodiscard]] bool is_over() const { return over_; }

 private:
  Patience(std::chrono::milliseconds limit, target::Cancel cancel, target::Cancel done);

  target::Cancel cancel_;
  target::Cancel done_;  ///< requested when the calls were in time
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

}  // namespace trainctl::engine
