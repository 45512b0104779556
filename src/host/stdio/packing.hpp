// SPDX-License-Identifier: Apache-2.0
// Data frames made shorter on the way (type packed, docs/runner-protocol.md). Over a slow link that is most of the time
// a log or a source takes; over a fast one it still saves ssh and sshd more than it costs.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "host/stdio/frame.hpp"
#include "host/stdio/packing_choice.hpp"
#include "trainctl/result.hpp"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace trainctl::host {

/// What a hello names under "packs" when packed frames are understood.
inline constexpr std::string_view kPacking = "zstd";
/// Whether this hello does.
bool names_packing(const Json& hello);

/// The sending side of one stream. Learns what is not worth the trouble: after each piece that did not become shorter
/// more of the next ones are sent as they are.
class Packer {
 public:
  /// `understood`: the other side's hello names packing; else everything is sent as it is.
  explicit Packer(bool understood) : understood_(understood) {}

  /// Appends `bytes` as one frame: packed when that saves an eighth, else data. At most kMaxPayload bytes.
  Result<> append(std::string& out, std::uint32_t stream, std::string_view bytes);
  /// What happens to the stream meanwhile.
  PackingChoice& choice() { return choice_; }

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const;
  };
  [[nodiscard]] std::string pack(std::string_view bytes);

  bool understood_ = false;
  PackingChoice choice_;
  std::unique_ptr<ZSTD_CCtx_s, Free> context_ = nullptr;
  std::uint32_t passes_ = 0;  ///< so many pieces are not tried
  std::uint32_t misses_ = 0;  ///< how often in turn it was in vain
};

/// The receiving side of one connection.
class Unpacker {
 public:
  /// A packed frame becomes the data frame it stands for; others stay as they are. Errc::invalid when it is damaged or
  /// longer than kMaxPayload: nothing more can be understood on this connection.
  Result<> unpack(Frame& frame);

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const;
  };
  std::unique_ptr<ZSTD_DCtx_s, Free> context_ = nullptr;
};

/// A zstd frame of all the bytes, which says its size.
std::string pack_whole(std::string_view bytes);
/// Empty for anything else, and for more than `most` bytes.
std::optional<std::string> unpack_whole(std::string_view packed, std::size_t most);

}  // namespace trainctl::host
