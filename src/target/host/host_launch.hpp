// SPDX-License-Identifier: Apache-2.0
// What bringing a run to a host consists of, whether it is one host or several (host_target.cpp).
#pragma once

#include <nlohmann/json.hpp>

#include "target/host/runner_client.hpp"
#include "target/target.hpp"

namespace trainctl::target {

/// The launch request of a run: {"op":"launch","plan", "secrets"?}, the secrets while they are still here.
Result<Json> launch_request(const RunRef& ref);
/// The host has them now: they are not kept in two places.
Result<> forget_secrets(const RunRef& ref);

}  // namespace trainctl::target
