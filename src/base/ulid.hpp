// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trainctl::base {

/// A new ULID, lower case, 26 characters (github.com/ulid/spec): 48 bits of ms since the epoch, 80 random bits.
/// Two of one process in the same millisecond sort in the order they were made.
std::string new_ulid();
bool is_ulid(std::string_view text);
/// Milliseconds since the epoch in a ULID; empty when it is none.
std::optional<std::int64_t> ulid_time_ms(std::string_view ulid);
/// `bytes` random bytes as lower-case hex.
std::string random_hex(std::size_t bytes);

}  // namespace trainctl::base
