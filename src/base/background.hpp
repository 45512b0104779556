// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <future>
#include <system_error>
#include <utility>

namespace trainctl::base {

/// Does `work` in a thread of its own; where there is none to be had (a limit of this user), when it is asked for.
template <class Work>
auto in_background(Work work) -> std::future<decltype(work())> {
  try {
    return std::async(std::launch::async, work);
  } catch (const std::system_error&) {
    return std::async(std::launch::deferred, std::move(work));
  }
}

}  // namespace trainctl::base
