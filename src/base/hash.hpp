// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "trainctl/result.hpp"

namespace trainctl::base {

/// Streaming SHA-256 (OpenSSL's low-level implementation: EVP would add 3.5 MB to the static runner).
class Sha256 {
 public:
  Sha256();
  void update(std::string_view data);
  std::array<std::uint8_t, 32> finish();
  std::string finish_hex();

 private:
  alignas(8) std::array<unsigned char, 128> state_;  // SHA256_CTX, kept opaque; its size is asserted in the .cpp
};

std::string sha256_hex(std::string_view data);
/// HMAC-SHA256 (RFC 2104) of `data`, 32 raw bytes.
std::string hmac_sha256(std::string_view key, std::string_view data);
/// Takes as long whether and wherever the texts differ; only their lengths show.
bool equal_in_constant_time(std::string_view a, std::string_view b);
Result<std::string> sha256_file_hex(const std::filesystem::path& path);
std::string to_hex(std::string_view bytes);
std::uint32_t crc32c(std::string_view data, std::uint32_t seed = 0);

}  // namespace trainctl::base
