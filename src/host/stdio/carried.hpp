// SPDX-License-Identifier: Apache-2.0
// The client's first bytes, carried by the command that starts the runner (docs/decisions/0019). Everybody on both
// machines may see a command: they are sealed with a key that the host has told before, over a connection.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace trainctl::host {

/// Hexadecimal digits that a command carries at most: some servers take 9,000 bytes for all of it (Dropbear).
inline constexpr std::size_t kMostCarried = 7000;

/// The key of this store, made when there is none (0600). Empty where that is not possible.
std::string carrying_key(const std::filesystem::path& store);

/// The digits for the bytes, packed and sealed; empty when they are too many, or for a key of another length.
std::string carry(std::string_view key, std::string_view bytes);

/// The bytes; empty when they were carried for another key.
std::optional<std::string> read_carried(std::string_view key, std::string_view digits);

}  // namespace trainctl::host
