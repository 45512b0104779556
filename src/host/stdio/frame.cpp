// SPDX-License-Identifier: Apache-2.0
#include "host/stdio/frame.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::array<std::string_view, 11> kNames = {"?",      "hello", "request", "reply", "note",  "data",
                                                     "credit", "end",   "cancel",  "error", "packed"};
constexpr std::uint32_t kMaxCredit = 1U << 31U;
/// Bytes between two grants: more at once only makes the flow uneven.
constexpr std::uint32_t kOftenEnough = 1U << 20U;

std::uint32_t read_u32(std::string_view bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = (value << 8U) | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

std::string_view to_string(FrameType type) {
  const auto index = static_cast<std::size_t>(type);
  return index < kNames.size() ? kNames.at(index) : kNames[0];
}

std::string encode_u32(std::uint32_t value) {
  std::string bytes;
  for (unsigned shift = 0; shift < 32; shift += 8) bytes += static_cast<char>((value >> shift) & 0xffU);
  return bytes;
}

std::optional<std::uint32_t> decode_u32(std::string_view bytes) {
  if (bytes.size() != 4) return std::nullopt;
  return read_u32(bytes);
}

Result<> append_frame(std::string& out, FrameType type, std::uint32_t stream, std::string_view payload) {
  if (payload.size() > kMaxPayload) {
    return fail(Errc::internal, "a " + std::string(to_string(type)) + " frame of " + std::to_string(payload.size()) +
                                    " bytes is longer than " + std::to_string(kMaxPayload));
  }
  out += encode_u32(static_cast<std::uint32_t>(payload.size()));
  out += static_cast<char>(type);
  out += encode_u32(stream);
  out += payload;
  return {};
}

void FrameDecoder::feed(std::string_view bytes) {
  if (broken_) return;
  // What was taken is dropped only now, so that reading many small frames of one piece does not move bytes each time.
  if (at_ > 0) buffer_.erase(0, at_);
  at_ = 0;
  buffer_ += bytes;
}

Result<std::optional<Frame>> FrameDecoder::next() {
  if (broken_) return fail(*broken_);
  const std::string_view rest = std::string_view(buffer_).substr(at_);
  if (rest.size() < kFrameHeader) return std::optional<Frame>{};
  const std::uint32_t length = read_u32(rest);
  const auto type = static_cast<unsigned char>(rest[4]);
  if (length > kMaxPayload || type == 0 || type >= kNames.size()) {
    broken_ = Error{.code = Errc::invalid,
                    .message = "not a frame of the runner protocol (length " + std::to_string(length) + ", type " +
                               std::to_string(type) + ")"};
    broken_->hint = "something else writes to this connection, e.g. a login script that prints text";
    return fail(*broken_);
  }
  if (rest.size() - kFrameHeader < length) return std::optional<Frame>{};
  Frame frame{static_cast<FrameType>(type), read_u32(rest.substr(5)), std::string(rest.substr(kFrameHeader, length))};
  at_ += kFrameHeader + length;
  return std::optional<Frame>(std::move(frame));
}

bool CreditWindow::take(std::size_t bytes) {
  if (bytes > left_) return false;
  left_ -= static_cast<std::uint32_t>(bytes);
  return true;
}

Result<> CreditWindow::grant(std::uint32_t bytes) {
  if (bytes > kMaxCredit - left_)
    return fail(Errc::invalid, "a grant of " + std::to_string(bytes) + " bytes of credit is too much");
  left_ += bytes;
  return {};
}

Result<> CreditReturn::received(std::size_t bytes) {
  if (bytes > left_)
    return fail(Errc::invalid, "the other side sent " + std::to_string(bytes) + " bytes without credit");
  left_ -= static_cast<std::uint32_t>(bytes);
  return {};
}

std::uint32_t CreditReturn::consumed(std::size_t bytes) {
  owed_ += static_cast<std::uint32_t>(bytes);
  if (owed_ < std::min(window_ / 2, kOftenEnough)) return 0;
  const std::uint32_t grant = owed_;
  owed_ = 0;
  left_ += grant;
  return grant;
}

}  // namespace trainctl::host
