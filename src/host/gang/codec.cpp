// SPDX-License-Identifier: Apache-2.0
#include "host/gang/codec.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/hash.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::string_view kMagic = "trainctl-gang 1\n";
constexpr std::size_t kNonce = 32;
constexpr std::size_t kLength = 4;
constexpr std::size_t kProof = 32;

template <class Number>
std::string little_endian(Number value) {
  std::string bytes(sizeof value, '\0');
  for (char& byte : bytes) {
    byte = static_cast<char>(value & 0xFFU);
    value = static_cast<Number>(value >> 8U);
  }
  return bytes;
}

std::size_t read_length(std::string_view bytes) {
  std::size_t value = 0;
  for (std::size_t i = kLength; i > 0; --i) value = value << 8U | static_cast<unsigned char>(bytes[i - 1]);
  return value;
}

std::string proof(std::string_view key, std::uint64_t number, std::string_view payload) {
  return base::hmac_sha256(key, little_endian(number).append(payload));
}

}  // namespace

GangCodec::GangCodec(GangSide side, std::string key, std::string nonce)
    : side_(side), key_(std::move(key)), nonce_(std::move(nonce)) {}

std::string GangCodec::greeting() const {
  return std::string(kMagic) + nonce_;
}

Result<std::string> GangCodec::encode(std::string_view payload) {
  if (payload.size() > kMaxGangFrame) return fail(Errc::internal, "a message of the gang channel is too long");
  std::string bytes = little_endian(static_cast<std::uint32_t>(payload.size()));
  bytes.append(payload);
  return bytes.append(proof(send_key_, sent_++, payload));
}

Result<bool> GangCodec::take_greeting() {
  const std::size_t there = std::min(buffer_.size(), kMagic.size());
  if (std::string_view(buffer_).substr(0, there) != kMagic.substr(0, there))
    return fail(Errc::invalid, "the other side does not speak the gang channel of this version");
  if (buffer_.size() < kMagic.size() + kNonce) return false;
  const std::string other = buffer_.substr(kMagic.size(), kNonce);
  buffer_.erase(0, kMagic.size() + kNonce);
  const std::string both = side_ == GangSide::lead ? nonce_ + other : other + nonce_;
  const std::string lead = base::hmac_sha256(key_, "lead" + both);
  const std::string node = base::hmac_sha256(key_, "node" + both);
  send_key_ = side_ == GangSide::lead ? lead : node;
  receive_key_ = side_ == GangSide::lead ? node : lead;
  return true;
}

Result<std::optional<std::string>> GangCodec::next() {
  if (!ready()) {
    TRY_ASSIGN(const bool greeted, take_greeting());
    if (!greeted) return std::nullopt;
  }
  if (buffer_.size() < kLength) return std::nullopt;
  const std::size_t length = read_length(buffer_);
  if (length > (trusted() ? kMaxGangFrame : kMaxGangHello))
    return fail(Errc::invalid, "a message of the gang channel is too long: " + std::to_string(length) + " bytes");
  if (buffer_.size() < kLength + length + kProof) return std::nullopt;
  std::string payload = buffer_.substr(kLength, length);
  const std::string_view given = std::string_view(buffer_).substr(kLength + length, kProof);
  if (!base::equal_in_constant_time(given, proof(receive_key_, received_, payload)))
    return fail(Errc::denied, "a message of the gang channel was not made with the key of this run");
  ++received_;
  buffer_.erase(0, kLength + length + kProof);
  return payload;
}

}  // namespace trainctl::host
