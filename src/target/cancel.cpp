// SPDX-License-Identifier: Apache-2.0
#include "target/cancel.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "base/fd.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {

Result<Cancel> Cancel::create() {
  base::UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return fail_errno("make an event descriptor", errno);
  return Cancel(std::move(event));
}

void Cancel::request() const {
  const std::uint64_t one = 1;
  // Cannot fail but by overflow, and then it is requested already.
  [[maybe_unused]] const auto written = ::write(event_->get(), &one, sizeof one);
}

bool Cancel::requested() const {
  return wait_ms(0);
}

bool Cancel::wait_ms(int timeout_ms) const {
  pollfd wait{event_->get(), POLLIN, 0};
  return ::poll(&wait, 1, timeout_ms) > 0;  // an interrupted wait only makes the caller look earlier
}

}  // namespace trainctl::target
