// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "trainctl/result.hpp"

namespace trainctl::host {

/// Carries stdin to, and stdout from, `port` of this machine's loopback, until the other side has closed and all it
/// said was handed on. The end of stdin is told to it. Errc::unavailable when nobody listens there.
Result<> relay(int port);

}  // namespace trainctl::host
