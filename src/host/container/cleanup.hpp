// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <vector>

#include "format/paths.hpp"
#include "host/supervisor/rank_set.hpp"
#include "host/supervisor/reactor.hpp"

namespace trainctl::host {

/// Removes what is left of an attempt's containers. A rank that ends by itself takes its container along; one that was
/// killed, or whose client was, may leave it behind: docker's are no descendants of ours.
class ContainerCleanup {
 public:
  explicit ContainerCleanup(Reactor& reactor) : reactor_(reactor) {}
  ~ContainerCleanup();
  ContainerCleanup(const ContainerCleanup&) = delete;
  ContainerCleanup& operator=(const ContainerCleanup&) = delete;

  /// True when nothing is left. Otherwise a child is at work; the loop comes back when it has ended. To be called again
  /// until it is true.
  bool done(const format::RunPaths& run, int attempt, const std::vector<Rank>& ranks, bool stopped);
  /// For the next attempt.
  void reset() { finished_ = false; }

 private:
  Reactor& reactor_;
  pid_t child_ = 0;
  bool finished_ = false;
};

}  // namespace trainctl::host
