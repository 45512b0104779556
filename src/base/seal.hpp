// SPDX-License-Identifier: Apache-2.0
// Bytes that go where others can see them, for whoever has the same key: HMAC-SHA256 (RFC 2104) in counter mode, then
// HMAC-SHA256 over all of it (encrypt-then-MAC, RFC 7366). For a few kilobytes: two hashes for 32 bytes.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace trainctl::base {

inline constexpr std::size_t kSealKeyBytes = 32;
inline constexpr std::size_t kSealBytes = 16 + 32;  ///< that a sealed text is longer: nonce and tag

/// Under a nonce of its own, so that the same text never looks the same. `key`: kSealKeyBytes random bytes.
std::string seal(std::string_view key, std::string_view text);

/// The text; empty when it was sealed with another key, or changed.
std::optional<std::string> unseal(std::string_view key, std::string_view sealed);

}  // namespace trainctl::base
