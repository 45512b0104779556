// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/fd.hpp"
#include "host/supervisor/reactor.hpp"

namespace trainctl::host {

/// A forked child that works until its control pipe closes. It dies with its supervisor.
class ControlledChild {
 public:
  /// `patience`: what it gets to finish before it is killed.
  ControlledChild(Reactor& reactor, std::uint64_t patience) : reactor_(reactor), patience_(patience) {}
  ~ControlledChild();
  ControlledChild(const ControlledChild&) = delete;
  ControlledChild& operator=(const ControlledChild&) = delete;

  /// `life` gets the control pipe's read end and returns the exit code; of the other descriptors it has only `keep`.
  /// `ended` is called from the loop. False: no child could be made.
  bool start(const char* name, const std::function<int(int control)>& life, std::vector<int> keep = {},
             std::function<void()> ended = {});
  /// Closes the pipe; busy() until the child has ended.
  void finish(std::uint64_t now);
  void tick(std::uint64_t now);
  [[nodiscard]] bool busy() const { return *child_ != 0; }
  [[nodiscard]] std::uint64_t next_deadline() const { return busy() ? kill_at_ : kNever; }

 private:
  Reactor& reactor_;
  std::uint64_t patience_;
  std::shared_ptr<pid_t> child_ = std::make_shared<pid_t>(0);  ///< the reactor may outlive us and reaps it then
  base::UniqueFd control_;
  std::uint64_t kill_at_ = kNever;
};

}  // namespace trainctl::host
