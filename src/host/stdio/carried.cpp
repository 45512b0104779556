// SPDX-License-Identifier: Apache-2.0
#include "host/stdio/carried.hpp"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/hex.hpp"
#include "base/random.hpp"
#include "base/seal.hpp"
#include "format/paths.hpp"
#include "host/stdio/packing.hpp"

namespace trainctl::host {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 20U;

}  // namespace

std::string carrying_key(const std::filesystem::path& store) {
  const auto path = format::StorePaths{store}.carrying_key();
  if (auto known = base::read_file(path, base::kSealKeyBytes); known && known->size() == base::kSealKeyBytes)
    return std::move(*known);
  std::string key(base::kSealKeyBytes, '\0');
  base::fill_random(key.data(), key.size());
  // Of two that make one at once the last wins; for the other's client nothing is carried until it hears of that.
  return base::write_file_atomic(path, key) ? key : std::string();
}

std::string carry(std::string_view key, std::string_view bytes) {
  if (key.size() != base::kSealKeyBytes) return {};
  const std::string packed = pack_whole(bytes);
  if (2 * (packed.size() + base::kSealBytes) > kMostCarried) return {};
  return base::to_hex(base::seal(key, packed));
}

std::optional<std::string> read_carried(std::string_view key, std::string_view digits) {
  const auto sealed = base::from_hex(digits);
  if (!sealed) return std::nullopt;
  const auto packed = base::unseal(key, *sealed);
  return packed ? unpack_whole(*packed, kMostBytes) : std::nullopt;
}

}  // namespace trainctl::host
