// SPDX-License-Identifier: Apache-2.0
#include "base/seal.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/hash.hpp"
#include "base/random.hpp"

namespace trainctl::base {
namespace {

constexpr std::size_t kBlockBytes = 32;  ///< of HMAC-SHA256, which is the tag too
constexpr std::size_t kNonceBytes = kSealBytes - kBlockBytes;

/// The text under the stream of this key and nonce; the same again gives the text back.
std::string covered(std::string_view key, std::string_view nonce, std::string_view text) {
  const std::string own = hmac_sha256(key, "seal: cover");
  std::string result(text);
  std::string counted(nonce);
  counted.resize(kNonceBytes + sizeof(std::uint64_t));
  std::string block;
  for (std::size_t at = 0; at < result.size(); ++at) {
    if (at % kBlockBytes == 0) {
      const std::uint64_t number = at / kBlockBytes;
      for (std::size_t i = 0; i < sizeof number; ++i)
        counted[kNonceBytes + i] = static_cast<char>((number >> (8 * i)) & 0xFFU);
      block = hmac_sha256(own, counted);
    }
    result[at] =
        static_cast<char>(static_cast<unsigned char>(result[at]) ^ static_cast<unsigned char>(block[at % kBlockBytes]));
  }
  return result;
}

std::string tag_of(std::string_view key, std::string_view nonce_and_covered) {
  return hmac_sha256(hmac_sha256(key, "seal: tag"), nonce_and_covered);
}

}  // namespace

std::string seal(std::string_view key, std::string_view text) {
  std::string sealed(kNonceBytes, '\0');
  fill_random(sealed.data(), sealed.size());
  sealed += covered(key, sealed, text);
  return sealed + tag_of(key, sealed);
}

std::optional<std::string> unseal(std::string_view key, std::string_view sealed) {
  if (key.size() != kSealKeyBytes || sealed.size() < kSealBytes) return std::nullopt;
  const std::string_view told = sealed.substr(sealed.size() - kBlockBytes);
  sealed.remove_suffix(kBlockBytes);
  if (!equal_in_constant_time(told, tag_of(key, sealed))) return std::nullopt;
  return covered(key, sealed.substr(0, kNonceBytes), sealed.substr(kNonceBytes));
}

}  // namespace trainctl::base
