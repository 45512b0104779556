// SPDX-License-Identifier: Apache-2.0
#include "host/stdio/packing.hpp"

#include <zstd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.hpp"
#include "host/stdio/frame.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::size_t kWorthTrying = std::size_t{2} << 10U;  ///< a line or two is sent at once
constexpr std::uint32_t kMostMisses = 5;                     ///< 32 pieces are sent as they are before the next try
constexpr int kTight = 1;                                    ///< a training's lines: 5.6 times as short, at 420 MB/s
constexpr int kQuick = -7;                                   ///< 2.5 times, at 1,000 MB/s, and twice as fast to unpack

}  // namespace

bool names_packing(const Json& hello) {
  const auto packs = hello.find("packs");
  return packs != hello.end() && packs->is_array() &&
         std::find(packs->begin(), packs->end(), Json(kPacking)) != packs->end();
}

void Packer::Free::operator()(ZSTD_CCtx_s* context) const {
  ZSTD_freeCCtx(context);
}

void Unpacker::Free::operator()(ZSTD_DCtx_s* context) const {
  ZSTD_freeDCtx(context);
}

/// The packed bytes; empty when they would not save an eighth.
std::string Packer::pack(std::string_view bytes) {
  if (!context_) context_.reset(ZSTD_createCCtx());
  if (!context_) return {};
  const int level = choice_.quick() ? kQuick : kTight;
  std::string packed(bytes.size() - bytes.size() / 8, '\0');
  const std::size_t size =
      ZSTD_compressCCtx(context_.get(), packed.data(), packed.size(), bytes.data(), bytes.size(), level);
  packed.resize(ZSTD_isError(size) != 0U ? 0 : size);
  return packed;
}

Result<> Packer::append(std::string& out, std::uint32_t stream, std::string_view bytes) {
  if (!understood_ || bytes.size() < kWorthTrying || bytes.size() > kMaxPayload)
    return append_frame(out, FrameType::data, stream, bytes);
  if (passes_ > 0) {
    --passes_;
    return append_frame(out, FrameType::data, stream, bytes);
  }
  const std::string packed = pack(bytes);
  if (packed.empty()) {
    misses_ = std::min(misses_ + 1, kMostMisses);
    passes_ = 1U << misses_;
    return append_frame(out, FrameType::data, stream, bytes);
  }
  misses_ = 0;
  return append_frame(out, FrameType::packed, stream, packed);
}

std::string pack_whole(std::string_view bytes) {
  std::string packed(ZSTD_compressBound(bytes.size()), '\0');
  const std::size_t size = ZSTD_compress(packed.data(), packed.size(), bytes.data(), bytes.size(), ZSTD_CLEVEL_DEFAULT);
  packed.resize(ZSTD_isError(size) != 0U ? 0 : size);
  return packed;
}

std::optional<std::string> unpack_whole(std::string_view packed, std::size_t most) {
  const auto size = ZSTD_getFrameContentSize(packed.data(), packed.size());
  if (size > most) return std::nullopt;  // the two error values of the size are far above
  std::string bytes(static_cast<std::size_t>(size), '\0');
  const std::size_t got = ZSTD_decompress(bytes.data(), bytes.size(), packed.data(), packed.size());
  if (ZSTD_isError(got) != 0U || got != bytes.size()) return std::nullopt;
  return bytes;
}

Result<> Unpacker::unpack(Frame& frame) {
  if (frame.type != FrameType::packed) return {};
  if (!context_) context_.reset(ZSTD_createDCtx());
  const auto size = ZSTD_getFrameContentSize(frame.payload.data(), frame.payload.size());
  // The two error values of the size are far above what is allowed.
  if (!context_ || size > kMaxPayload)
    return fail(Errc::invalid, "a packed frame of the runner protocol does not say how long it is, or is too long");
  std::string bytes(static_cast<std::size_t>(size), '\0');
  const std::size_t got =
      ZSTD_decompressDCtx(context_.get(), bytes.data(), bytes.size(), frame.payload.data(), frame.payload.size());
  if (ZSTD_isError(got) != 0U || got != bytes.size())
    return fail(Errc::invalid, "a packed frame of the runner protocol is damaged");
  frame.type = FrameType::data;
  frame.payload = std::move(bytes);
  return {};
}

}  // namespace trainctl::host
