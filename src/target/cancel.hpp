// SPDX-License-Identifier: Apache-2.0
// A request to give up a blocking call, from another thread.
#pragma once

#include <memory>
#include <utility>

#include "base/fd.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {

/// Copies mean the same request.
class Cancel {
 public:
  static Result<Cancel> create();

  void request() const;
  [[nodiscard]] bool requested() const;
  /// Readable once it was requested: for poll(2) beside what is waited for.
  [[nodiscard]] int fd() const { return event_->get(); }
  /// Waits up to `timeout_ms` (-1 = without end); true when it was requested.
  [[nodiscard]] bool wait_ms(int timeout_ms) const;

 private:
  explicit Cancel(base::UniqueFd event) : event_(std::make_shared<base::UniqueFd>(std::move(event))) {}
  std::shared_ptr<base::UniqueFd> event_;
};

}  // namespace trainctl::target
