// SPDX-License-Identifier: Apache-2.0
// Frames of the runner's stdio protocol (docs/runner-protocol.md): u32 length | u8 type | u32 stream | payload, numbers
// little-endian, length = bytes of the payload.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "trainctl/result.hpp"

namespace trainctl::host {

inline constexpr int kProtocolMin = 1;
inline constexpr int kProtocolMax = 1;
inline constexpr std::size_t kFrameHeader = 9;
inline constexpr std::size_t kMaxPayload = std::size_t{1} << 20U;
inline constexpr std::uint32_t kStreamCredit = 256U << 10U;

enum class FrameType : std::uint8_t {
  hello = 1,    ///< both sides, first, stream 0: JSON
  request = 2,  ///< client: JSON {"op":…}; opens the stream
  reply = 3,    ///< runner: JSON, the answer to a request; the stream is closed
  note = 4,     ///< runner: JSON within an open stream; says what the data after it is
  data = 5,     ///< raw bytes; counts against the stream's credit
  credit = 6,   ///< u32: the receiver of data allows so many bytes more
  end = 7,      ///< runner: JSON, closes a stream that carried data
  cancel = 8,   ///< client: the stream is not wanted any more; empty
  error = 9,    ///< runner: JSON {"code","message","hint","retryable"}; closes the stream (stream 0: the connection)
  packed = 10,  ///< data as one zstd frame, to who names "zstd" in "packs" of its hello; counts as what it becomes
};
std::string_view to_string(FrameType type);

struct Frame {
  FrameType type = FrameType::hello;
  std::uint32_t stream = 0;
  std::string payload = {};
  friend bool operator==(const Frame&, const Frame&) = default;
};

/// Appends the frame's bytes. Payloads above kMaxPayload are a bug of the caller: Errc::internal.
Result<> append_frame(std::string& out, FrameType type, std::uint32_t stream, std::string_view payload);

/// Takes bytes in pieces of any size and gives whole frames. After an error it stays in error: the stream has no
/// resynchronisation point.
class FrameDecoder {
 public:
  void feed(std::string_view bytes);
  /// The next frame; empty when more bytes are needed. Errc::invalid for a frame that is too long or of unknown type.
  Result<std::optional<Frame>> next();
  /// Bytes that wait for the rest of their frame: not 0 at the end of the input means it was cut.
  [[nodiscard]] std::size_t pending() const { return buffer_.size() - at_; }

 private:
  std::string buffer_;
  std::size_t at_ = 0;
  std::optional<Error> broken_;
};

/// What one side may still send on a stream.
class CreditWindow {
 public:
  explicit CreditWindow(std::uint32_t initial = kStreamCredit) : left_(initial) {}
  [[nodiscard]] std::uint32_t left() const { return left_; }
  /// False, and nothing taken, when `bytes` are more than is left.
  [[nodiscard]] bool take(std::size_t bytes);
  /// Errc::invalid when the other side grants more than a window can hold (2^31).
  Result<> grant(std::uint32_t bytes);

 private:
  std::uint32_t left_ = 0;
};

/// The receiving side: gives credit back in halves of the window or megabytes, so that grants are few and the sender
/// never starves.
class CreditReturn {
 public:
  explicit CreditReturn(std::uint32_t window = kStreamCredit) : window_(window), left_(window) {}
  /// Counts received bytes: Errc::invalid when the sender had no credit for them.
  Result<> received(std::size_t bytes);
  /// Counts consumed bytes: how much to grant now, 0 = nothing yet.
  std::uint32_t consumed(std::size_t bytes);

 private:
  std::uint32_t window_ = 0;
  std::uint32_t left_ = 0;
  std::uint32_t owed_ = 0;
};

std::string encode_u32(std::uint32_t value);
std::optional<std::uint32_t> decode_u32(std::string_view bytes);

}  // namespace trainctl::host
