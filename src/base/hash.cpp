// SPDX-License-Identifier: Apache-2.0
#include "base/hash.hpp"

#include <fcntl.h>
#include <openssl/sha.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "trainctl/result.hpp"

namespace trainctl::base {

// SHA256_CTX is trivially copyable and lives in a plain array so that the header needs no OpenSSL. memcpy in and out
// keeps this within the language's aliasing rules; it is 112 bytes, lost in the cost of a block.
static_assert(sizeof(SHA256_CTX) <= 128, "Sha256::state_ must hold a SHA256_CTX");
static_assert(std::is_trivially_copyable_v<SHA256_CTX>);

namespace {

template <class State>
SHA256_CTX load(const State& state) {
  SHA256_CTX context;
  std::memcpy(&context, state.data(), sizeof context);
  return context;
}

template <class State>
void store(State& state, const SHA256_CTX& context) {
  std::memcpy(state.data(), &context, sizeof context);
}

using Crc32cTables = std::array<std::array<std::uint32_t, 256>, 8>;

/// Table k gives what a byte does to the checksum k bytes later: eight bytes are taken at once ("slicing by 8").
constexpr Crc32cTables make_crc32c_tables() {
  Crc32cTables tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value & 1U) != 0 ? (value >> 1U) ^ 0x82F63B78U : value >> 1U;
    tables[0][i] = value;
  }
  for (std::size_t k = 1; k < tables.size(); ++k)
    for (std::size_t i = 0; i < 256; ++i) tables[k][i] = (tables[k - 1][i] >> 8U) ^ tables[0][tables[k - 1][i] & 0xFFU];
  return tables;
}

}  // namespace

// OpenSSL 3 deprecates its low-level hashes in favour of EVP, which would pull all of its provider code into the
// runner.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

Sha256::Sha256() : state_{} {
  SHA256_CTX context;
  SHA256_Init(&context);
  store(state_, context);
}

void Sha256::update(std::string_view data) {
  SHA256_CTX context = load(state_);
  SHA256_Update(&context, data.data(), data.size());
  store(state_, context);
}

std::array<std::uint8_t, 32> Sha256::finish() {
  SHA256_CTX context = load(state_);
  std::array<std::uint8_t, 32> digest{};
  SHA256_Final(digest.data(), &context);
  store(state_, context);
  return digest;
}

#pragma GCC diagnostic pop

std::string Sha256::finish_hex() {
  const auto digest = finish();
  const std::string bytes(digest.begin(), digest.end());
  return to_hex(bytes);
}

std::string hmac_sha256(std::string_view key, std::string_view data) {
  constexpr std::size_t kBlock = 64;
  const auto hash = [](std::string_view first, std::string_view second) {
    Sha256 sha;
    sha.update(first);
    sha.update(second);
    const auto bytes = sha.finish();
    return std::string(bytes.begin(), bytes.end());
  };
  std::string block = key.size() > kBlock ? hash(key, {}) : std::string(key);
  block.resize(kBlock, '\0');
  std::string inner = block;
  std::string outer = block;
  for (char& letter : inner) letter = static_cast<char>(letter ^ 0x36);
  for (char& letter : outer) letter = static_cast<char>(letter ^ 0x5c);
  return hash(outer, hash(inner, data));
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

std::string sha256_hex(std::string_view data) {
  Sha256 hash;
  hash.update(data);
  return hash.finish_hex();
}

Result<std::string> sha256_file_hex(const std::filesystem::path& path) {
  TRY_ASSIGN(const UniqueFd fd, open_file(path, O_RDONLY));
  constexpr std::size_t kBlock = 256U << 10U;
  const auto buffer = std::make_unique<char[]>(kBlock);
  Sha256 hash;
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.get(), kBlock);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read " + path.string(), errno);
    if (got == 0) return hash.finish_hex();
    hash.update({buffer.get(), static_cast<std::size_t>(got)});
  }
}

std::string to_hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

std::uint32_t crc32c(std::string_view data, std::uint32_t seed) {
  static constexpr Crc32cTables kTables = make_crc32c_tables();
  std::uint32_t crc = ~seed;
  const auto* at = reinterpret_cast<const unsigned char*>(data.data());
  std::size_t left = data.size();
  for (; left >= 8; left -= 8, at += 8) {
    const std::uint32_t low =
        crc ^ (at[0] | std::uint32_t{at[1]} << 8U | std::uint32_t{at[2]} << 16U | std::uint32_t{at[3]} << 24U);
    crc = kTables[7][low & 0xFFU] ^ kTables[6][(low >> 8U) & 0xFFU] ^ kTables[5][(low >> 16U) & 0xFFU] ^
          kTables[4][low >> 24U] ^ kTables[3][at[4]] ^ kTables[2][at[5]] ^ kTables[1][at[6]] ^ kTables[0][at[7]];
  }
  for (; left > 0; --left, ++at) crc = (crc >> 8U) ^ kTables[0][(crc ^ *at) & 0xFFU];
  return ~crc;
}

}  // namespace trainctl::base
