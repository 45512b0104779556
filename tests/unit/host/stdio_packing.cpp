// SPDX-License-Identifier: Apache-2.0
// Packed frames: what goes over the wire is shorter, what comes out is the same, and nobody gets one who did not ask.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "format/paths.hpp"
#include "host/stdio/frame.hpp"
#include "host/stdio/packing.hpp"
#include "host/stdio/packing_choice.hpp"
#include "stdio_client.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"

using namespace trainctl;
using namespace trainctl::host;
using namespace trainctl::host::stdio_test;

namespace {

std::string log_text(std::size_t lines) {
  std::string text;
  for (std::size_t i = 0; i < lines; ++i)
    text += "epoch " + std::to_string(i / 100) + " step " + std::to_string(i) + " loss=0." + std::to_string(i * 7919) +
            "\n";
  return text;
}

std::string noise(std::size_t size) {
  std::mt19937 random(7);  // NOLINT: the same bytes each time
  std::string bytes;
  bytes.reserve(size);
  while (bytes.size() < size) bytes += static_cast<char>(random());
  return bytes;
}

/// The one frame that stands for `bytes`.
Frame sent(Packer& packer, std::string_view bytes) {
  std::string out;
  REQUIRE(packer.append(out, 3, bytes));
  FrameDecoder decoder;
  decoder.feed(out);
  auto frame = decoder.next();
  REQUIRE(frame);
  REQUIRE(*frame);
  CHECK(decoder.pending() == 0);
  return std::move(**frame);
}

/// Fetches the log of a run on stream 1; the sizes of the frames that carried it.
std::string fetch(Client& client, const format::RunPaths& run, std::vector<Frame>& frames) {
  client.ask(1, {{"op", "fetch"}, {"run", run.id()}, {"file", "attempts/1/logs/std.log"}});
  Unpacker unpacker;
  std::string content;
  CreditReturn credit;
  for (;;) {
    Frame frame = client.answer(1);
    if (frame.type == FrameType::end) return content;
    if (frame.type == FrameType::note) continue;
    frames.push_back(frame);
    REQUIRE(unpacker.unpack(frame));
    REQUIRE(credit.received(frame.payload.size()));  // what it becomes counts
    content += frame.payload;
    if (const std::uint32_t grant = credit.consumed(frame.payload.size()); grant > 0)
      client.send(FrameType::credit, 1, encode_u32(grant));
  }
}

/// A link that carries `wire` bytes a microsecond, between a packer and a reader as they are: what quick and tight
/// packing make of a training's lines, and how fast.
struct Link {
  double wire = 0;
  double quick_ratio = 2.5, quick_speed = 1000;
  double tight_ratio = 5.6, tight_speed = 420;
  PackingChoice choice = {};
  double now_us = 1;
  double quick_share = 0;  ///< of the last send()

  void send(int megabytes) {
    int quick = 0;
    for (int i = 0; i < megabytes; ++i) {
      const bool is_quick = choice.quick();
      const double rate =
          is_quick ? std::min(wire * quick_ratio, quick_speed) : std::min(wire * tight_ratio, tight_speed);
      quick += is_quick ? 1 : 0;
      now_us += (1U << 20U) / rate;
      choice.taken(1U << 20U, now_ns());
    }
    quick_share = static_cast<double>(quick) / megabytes;
  }
  void pause(double milliseconds) {
    choice.ran_dry(now_ns());
    now_us += milliseconds * 1000;
    choice.goes_on(now_ns());
  }
  [[nodiscard]] std::uint64_t now_ns() const { return static_cast<std::uint64_t>(now_us * 1000); }
};

}  // namespace

TEST_CASE("a fast link is packed for quickly, a slow one tight") {
  for (const double wire : {0.1, 1.0, 10.0, 50.0, 118.0}) {
    Link link{.wire = wire};
    link.send(200);
    link.send(800);
    INFO(wire << " MB/s");
    CHECK(link.quick_share < 0.1);
  }
  for (const double wire : {400.0, 700.0, 3000.0}) {
    Link link{.wire = wire};
    link.send(200);
    link.send(800);
    INFO(wire << " MB/s");
    CHECK(link.quick_share > 0.9);
  }
}

TEST_CASE("a slow link is known after a moment, and another one when it changes") {
  Link link{.wire = 1};
  link.send(2);
  CHECK_FALSE(link.choice.quick());
  link.wire = 1000;
  link.send(2000);
  link.send(500);
  CHECK(link.quick_share > 0.9);
  link.wire = 1;
  link.send(100);
  CHECK_FALSE(link.choice.quick());
}

TEST_CASE("what gains nothing is tried ever more rarely") {
  Link link{.wire = 1000, .quick_ratio = 1, .quick_speed = 400, .tight_ratio = 1, .tight_speed = 400};
  link.send(1000);
  link.send(8000);
  CHECK(link.quick_share > 0.95);
}

TEST_CASE("a stream that has nothing to send says nothing about the link") {
  // One that is written as fast as it is sent: short pauses all the time.
  Link busy{.wire = 1000};
  for (int i = 0; i < 1000; ++i) {
    busy.send(1);
    busy.pause(0.5);
  }
  CHECK(busy.choice.quick());
  // And one that comes in gusts: it must not count as slow, nor stay with what was only tried.
  Link gusts{.wire = 1000};
  gusts.send(60);
  for (int i = 0; i < 1000; ++i) {
    gusts.send(1);
    gusts.pause(500);
  }
  CHECK(gusts.choice.quick());
}

TEST_CASE("what is packed comes back, and is shorter") {
  Packer packer(true);
  Unpacker unpacker;
  const std::string text = log_text(4000);
  for (int again = 0; again < 3; ++again) {
    Frame frame = sent(packer, text);
    CHECK(frame.type == FrameType::packed);
    CHECK(frame.stream == 3);
    CHECK(frame.payload.size() * 3 < text.size());
    REQUIRE(unpacker.unpack(frame));
    CHECK(frame == Frame{FrameType::data, 3, text});
  }
  CHECK(sent(packer, std::string(kMaxPayload, 'x')).type == FrameType::packed);
  CHECK(sent(packer, "a line\n") == Frame{FrameType::data, 3, "a line\n"});
  Frame plain{FrameType::data, 3, "as it is"};
  REQUIRE(unpacker.unpack(plain));
  CHECK(plain.payload == "as it is");
}

TEST_CASE("what does not become shorter is sent as it is, and tried ever more rarely") {
  Packer packer(true);
  const std::string bytes = noise(100'000);
  CHECK(sent(packer, bytes) == Frame{FrameType::data, 3, bytes});
  // Two pieces pass untried now; the third is tried and packed, and ends the caution.
  const std::string text = log_text(4000);
  CHECK(sent(packer, text).type == FrameType::data);
  CHECK(sent(packer, text).type == FrameType::data);
  CHECK(sent(packer, text).type == FrameType::packed);
  CHECK(sent(packer, text).type == FrameType::packed);
}

TEST_CASE("damaged packed frames are refused") {
  Packer packer(true);
  Unpacker unpacker;
  const Frame good = sent(packer, log_text(400));
  REQUIRE(good.type == FrameType::packed);
  std::vector<std::string> bad = {"", "x", std::string(100, '\0'), good.payload.substr(0, good.payload.size() - 1),
                                  good.payload + good.payload};
  // A frame that says it becomes 1 GB.
  bad.emplace_back("\x28\xb5\x2f\xfd\xa0\x00\x00\x00\x40", 9);
  for (const std::string& payload : bad) {
    Frame frame{FrameType::packed, 3, payload};
    const auto result = unpacker.unpack(frame);
    INFO(payload.size());
    REQUIRE_FALSE(result);
    CHECK(result.error().code == Errc::invalid);
  }
  Frame frame = good;
  CHECK(unpacker.unpack(frame));
}

TEST_CASE("a client that understands packed frames gets them, another one does not") {
  const std::string text = log_text(40'000);
  for (const bool packs : {true, false}) {
    Client client(false);
    client.send(FrameType::hello, 0,
                packs ? R"({"protocol":[1,1],"packs":["lz9","zstd"]})" : R"({"protocol":[1,1],"packs":"zstd"})");
    const auto run = make_run(client.store(), text);
    std::vector<Frame> frames;
    CHECK(fetch(client, run, frames) == text);
    std::size_t bytes = 0;
    std::size_t packed = 0;
    for (const Frame& frame : frames) {
      bytes += frame.payload.size();
      packed += frame.type == FrameType::packed ? 1 : 0;
    }
    CHECK((bytes < text.size() / 3) == packs);
    CHECK((packed > 0) == packs);
  }
}

TEST_CASE("a packed frame that is damaged ends the connection") {
  Client client;
  client.send(FrameType::packed, 1, "no zstd at all");
  Frame frame = client.receive();
  while (frame.type != FrameType::error) frame = client.receive();
  CHECK(frame.stream == 0);
  CHECK(frame.payload.find("packed frame") != std::string::npos);
  CHECK(client.finish() == 2);
}
