// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/stdio/frame.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"

using namespace trainctl;
using namespace trainctl::host;

TEST_CASE("the bytes of a frame are the published ones") {
  std::string bytes;
  REQUIRE(append_frame(bytes, FrameType::data, 0x01020304, "ab"));
  CHECK(bytes == std::string("\x02\0\0\0\x05\x04\x03\x02\x01"
                             "ab",
                             11));
}

TEST_CASE("frames come out whole however the bytes are cut") {
  std::string bytes;
  REQUIRE(append_frame(bytes, FrameType::hello, 0, "{}"));
  REQUIRE(append_frame(bytes, FrameType::data, 7, std::string(5000, 'x')));
  REQUIRE(append_frame(bytes, FrameType::cancel, 7, ""));
  for (const std::size_t piece : {std::size_t{1}, std::size_t{3}, std::size_t{9}, std::size_t{4096}, bytes.size()}) {
    FrameDecoder decoder;
    std::vector<Frame> frames;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      decoder.feed(std::string_view(bytes).substr(at, piece));
      for (;;) {
        auto frame = decoder.next();
        REQUIRE(frame);
        if (!*frame) break;
        frames.push_back(std::move(**frame));
      }
    }
    REQUIRE(frames.size() == 3);
    CHECK(frames[1].payload == std::string(5000, 'x'));
    CHECK(frames[2] == Frame{FrameType::cancel, 7, ""});
    CHECK(decoder.pending() == 0);
  }
}

TEST_CASE("a login banner in front of the protocol is told from a frame") {
  FrameDecoder decoder;
  decoder.feed("Welcome to gpubox!\n");
  auto frame = decoder.next();
  REQUIRE_FALSE(frame);
  CHECK(frame.error().code == Errc::invalid);
  CHECK(frame.error().hint.find("login script") != std::string::npos);
  std::string good;
  REQUIRE(append_frame(good, FrameType::hello, 0, "{}"));
  decoder.feed(good);
  CHECK_FALSE(decoder.next());  // it stays broken
}

TEST_CASE("credit is taken, granted and given back in halves") {
  CreditWindow window;
  CHECK(window.take(kStreamCredit));
  CHECK_FALSE(window.take(1));
  REQUIRE(window.grant(10));
  CHECK(window.left() == 10);
  CHECK_FALSE(window.grant(UINT32_MAX));
  CreditReturn receiver;
  REQUIRE(receiver.received(kStreamCredit));
  CHECK_FALSE(receiver.received(1));
  CHECK(receiver.consumed(1000) == 0);
  CHECK(receiver.consumed(kStreamCredit / 2) == kStreamCredit / 2 + 1000);
}
