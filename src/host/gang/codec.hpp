// SPDX-License-Identifier: Apache-2.0
// The bytes of the gang channel, without sockets. The supervisors of a run's machines trust who has the run's key
// (membership.hpp); what they say is authenticated, not secret: it holds states and exit codes, no values of a user.
//
//   lead → node   "trainctl-gang 1\n" | 32 random bytes
//   node → lead   "trainctl-gang 1\n" | 32 random bytes
//   then both     u32 length | payload (JSON) | 32 bytes HMAC-SHA256 over u64 number of the frame | payload
//
// Each direction has its own key, made of the run's key and both random values: a recorded frame is of no use in
// another connection, in the other direction, or twice. Numbers are little-endian. After an error a connection is
// closed: there is no way to find the next frame.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "trainctl/result.hpp"

namespace trainctl::host {

inline constexpr std::size_t kMaxGangFrame = std::size_t{4} << 20U;
/// What somebody may send who has not shown that he has the key.
inline constexpr std::size_t kMaxGangHello = std::size_t{64} << 10U;

enum class GangSide { lead, node };

class GangCodec {
 public:
  /// `nonce`: 32 random bytes of this side.
  GangCodec(GangSide side, std::string key, std::string nonce);

  /// The bytes that open the connection; to be sent first.
  [[nodiscard]] std::string greeting() const;
  /// The bytes of the next frame. Only after ready(). Errc::internal for a payload above kMaxGangFrame.
  Result<std::string> encode(std::string_view payload);

  void feed(std::string_view bytes) { buffer_.append(bytes); }
  /// The next payload whose origin is proven; empty when more bytes are needed. Errc::denied for a wrong proof,
  /// Errc::invalid for what is not this protocol.
  Result<std::optional<std::string>> next();

  /// The other side's greeting has come: frames can be sent.
  [[nodiscard]] bool ready() const { return !send_key_.empty(); }
  /// A frame of the other side has come: it has the key.
  [[nodiscard]] bool trusted() const { return received_ > 0; }

 private:
  Result<bool> take_greeting();
  GangSide side_;
  std::string key_;
  std::string nonce_;
  std::string buffer_;
  std::string send_key_;
  std::string receive_key_;
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
};

}  // namespace trainctl::host
