// SPDX-License-Identifier: Apache-2.0
// The frame decoder: bytes cut into pieces of any size give the same frames as in one piece, and what was decoded
// encodes to the same bytes. Packed frames become data of a bounded length or an error, and what is packed comes back.
// compiled with: host/stdio/frame.cpp host/stdio/packing.cpp host/stdio/packing_choice.cpp
// linked with: trainctl_dep_zstd
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "host/stdio/frame.hpp"
#include "host/stdio/packing.hpp"

using namespace trainctl::host;

namespace {

/// Feeds `bytes` in pieces of `piece`; false in `good` after a broken frame.
std::vector<Frame> decode(std::string_view bytes, std::size_t piece, bool& good) {
  FrameDecoder decoder;
  std::vector<Frame> frames;
  good = true;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    decoder.feed(bytes.substr(at, piece));
    for (;;) {
      auto frame = decoder.next();
      if (!frame) {
        good = false;
        if (decoder.next()) std::abort();  // an error is final
        return frames;
      }
      if (!*frame) break;
      frames.push_back(std::move(**frame));
    }
  }
  return frames;
}

/// `bytes` many times over, so that they are long enough to be packed.
void packs_and_comes_back(std::string_view bytes) {
  std::string text;
  while (!bytes.empty() && text.size() < 3000) text += bytes;
  std::string out;
  if (!Packer(true).append(out, 1, text)) std::abort();
  bool good = false;
  auto frames = decode(out, out.size(), good);
  if (!good || frames.size() != 1 || !Unpacker().unpack(frames[0]) || frames[0].payload != text) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = 1 + data[0] % 64;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);  // NOLINT: the fuzzer's interface
  bool whole_good = false;
  bool cut_good = false;
  const auto whole = decode(bytes, bytes.empty() ? 1 : bytes.size(), whole_good);
  const auto cut = decode(bytes, piece, cut_good);
  if (whole != cut || whole_good != cut_good) std::abort();
  std::string again;
  for (const Frame& frame : whole) {
    if (!append_frame(again, frame.type, frame.stream, frame.payload)) std::abort();
  }
  if (bytes.substr(0, again.size()) != again) std::abort();
  Unpacker unpacker;
  for (Frame frame : whole) {
    if (unpacker.unpack(frame) && (frame.type == FrameType::packed || frame.payload.size() > kMaxPayload)) std::abort();
  }
  packs_and_comes_back(bytes);
  return 0;
}
