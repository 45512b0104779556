// SPDX-License-Identifier: Apache-2.0
// The gang channel: proofs of origin, messages, who is lost when.
#include <stdlib.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/temp_dir.hpp"
#include "base/clock.hpp"
#include "base/hash.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "host/gang/codec.hpp"
#include "host/gang/lead.hpp"
#include "host/gang/membership.hpp"
#include "host/gang/messages.hpp"
#include "host/gang/node.hpp"
#include "host/supervisor/reactor.hpp"
#include "host/waiter/rank_record.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"

using namespace trainctl;
using namespace trainctl::host;

namespace {

const std::string kKey(32, 'k');

struct Pair {
  GangCodec lead{GangSide::lead, kKey, std::string(32, 'a')};
  GangCodec node{GangSide::node, kKey, std::string(32, 'b')};
  Pair() {
    lead.feed(node.greeting());
    node.feed(lead.greeting());
    (void)lead.next();
    (void)node.next();
  }
};

/// Drives a reactor until `done` says so, or `limit` has passed.
class Until : public Supervised {
 public:
  Until(std::function<bool(std::uint64_t now)> done, std::uint64_t limit)
      : done_(std::move(done)), limit_(base::mono_ns() + limit) {}
  void start() override {}
  void on_time(std::uint64_t now) override { finished_ = done_(now) || now >= limit_; }
  [[nodiscard]] std::uint64_t next_deadline() const override { return base::mono_ns() + 5 * kMillisecond; }
  void on_orphan(pid_t, int) override {}
  [[nodiscard]] bool done() const override { return finished_; }

 private:
  std::function<bool(std::uint64_t now)> done_;
  std::uint64_t limit_;
  bool finished_ = false;
};

bool drive(Reactor& reactor, std::function<bool(std::uint64_t now)> done) {
  bool reached = false;
  reactor.add(std::make_unique<Until>([&](std::uint64_t now) { return reached = done(now); }, 20'000 * kMillisecond));
  reactor.loop();
  return reached;
}

}  // namespace

TEST_CASE("HMAC-SHA256 gives the values of RFC 4231") {
  CHECK(base::to_hex(base::hmac_sha256(std::string(20, '\x0b'), "Hi There")) ==
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  CHECK(base::to_hex(base::hmac_sha256("Jefe", "what do ya want for nothing?")) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK(base::to_hex(
            base::hmac_sha256(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First")) ==
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  CHECK(base::equal_in_constant_time("abc", "abc"));
  CHECK_FALSE(base::equal_in_constant_time("abc", "abd"));
  CHECK_FALSE(base::equal_in_constant_time("abc", "ab"));
}

TEST_CASE("frames pass in pieces of any size and in order") {
  for (const std::size_t piece : {1U, 3U, 64U, 100'000U}) {
    Pair pair;
    std::string bytes = *pair.node.encode("one");
    bytes += *pair.node.encode("");
    bytes += *pair.node.encode(std::string(50'000, 'x'));
    std::vector<std::string> got;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      pair.lead.feed(std::string_view(bytes).substr(at, piece));
      for (;;) {
        auto next = pair.lead.next();
        REQUIRE(next);
        if (!*next) break;
        got.push_back(**next);
      }
    }
    REQUIRE(got.size() == 3);
    CHECK(got[0] == "one");
    CHECK(got[2].size() == 50'000);
    CHECK(pair.lead.trusted());
  }
}

TEST_CASE("what was not made with the key, here, now and by the other side is refused") {
  Pair pair;
  const std::string frame = *pair.node.encode("stop");
  SECTION("a flipped bit") {
    for (std::size_t at = 4; at < frame.size(); ++at) {
      Pair fresh;
      std::string bad = *fresh.node.encode("stop");
      bad[at] = static_cast<char>(bad[at] ^ 1);
      fresh.lead.feed(bad);
      CHECK(fresh.lead.next().error().code == Errc::denied);
    }
  }
  SECTION("twice") {
    pair.lead.feed(frame);
    CHECK(pair.lead.next());
    pair.lead.feed(frame);
    CHECK(pair.lead.next().error().code == Errc::denied);
  }
  SECTION("sent back to its sender") {
    pair.node.feed(frame);
    CHECK(pair.node.next().error().code == Errc::denied);
  }
  SECTION("in another connection with the same key") {
    GangCodec other(GangSide::lead, kKey, std::string(32, 'c'));
    other.feed(pair.node.greeting() + frame);
    CHECK(other.next().error().code == Errc::denied);
  }
  SECTION("another key") {
    GangCodec stranger(GangSide::node, std::string(32, 'x'), std::string(32, 'b'));
    stranger.feed(pair.lead.greeting());
    (void)stranger.next();
    pair.lead.feed(*stranger.encode("hello"));
    CHECK(pair.lead.next().error().code == Errc::denied);
  }
}

TEST_CASE("a stranger may send little, and no other protocol") {
  GangCodec lead(GangSide::lead, kKey, std::string(32, 'a'));
  SECTION("another protocol, at its first wrong byte") {
    lead.feed("GET / HTTP/1.1\r\n");
    CHECK(lead.next().error().code == Errc::invalid);
  }
  SECTION("a long first frame") {
    const GangCodec node(GangSide::node, kKey, std::string(32, 'b'));
    lead.feed(node.greeting() + std::string("\x01\x00\x10\x00", 4));
    CHECK(lead.next().error().code == Errc::invalid);
  }
}

TEST_CASE("messages say the same on the other side") {
  GangOrder order{.attempt = 3, .step = GangStep::launch};
  order.rendezvous = {.addresses = {"10.0.0.1", "fd00::2"}, .master_port = 20001, .ports = {20001, 20002}};
  order.stop =
      GangStop{.signal = 2, .grace = std::chrono::seconds(30), .cause = format::Cause::canceled, .message = "so"};
  order.retry = true;
  const auto heard = decode_order(encode(order));
  REQUIRE(heard);
  CHECK(heard->step == GangStep::launch);
  CHECK(heard->rendezvous.addresses == order.rendezvous.addresses);
  CHECK(heard->stop->cause == format::Cause::canceled);
  CHECK(heard->retry);

  NodeReport report{.attempt = 3, .step = NodeStep::drained, .ports = {20003}};
  report.ranks = {{.rank = 2, .begun = true, .exit = RankExit{.code = 7, .mono_ns = 99}}, {.rank = 3, .lost = "gone"}};
  report.logs = {{"rank-2.log", 12}};
  report.verdict = NodeVerdict{.cause = format::Cause::oom_kernel, .rank = 2, .message = "full"};
  const auto hello =
      decode_hello(encode(GangHello{.node = 1, .machine = "m", .lead_address = "10.0.0.1", .report = report}));
  REQUIRE(hello);
  CHECK(hello->node == 1);
  CHECK(hello->report.ranks[0].exit->code == 7);
  CHECK(hello->report.ranks[1].lost == "gone");
  CHECK(hello->report.logs == report.logs);
  CHECK(hello->report.verdict->cause == format::Cause::oom_kernel);
  for (const char* text : {"", "[]", "{", "3"}) CHECK_FALSE(decode_report(text));
  CHECK(decode_report(R"({"step":7,"ranks":{},"ports":["x",null],"attempt":-5,"logs":[1]})")->attempt == 0);
}

TEST_CASE("a node of a shared folder is made from node 0's membership") {
  const test::TempDir folder;
  const format::RunPaths run{folder.path() / "run"};
  REQUIRE(found_gang(run, 3));
  const auto lead = read_membership(run);
  REQUIRE((lead && *lead));
  REQUIRE(found_gang(run, 3));
  CHECK((*read_membership(run))->key == (*lead)->key);
  const auto node = read_membership(format::RunPaths{run.root, 2});
  REQUIRE((node && *node));
  CHECK((*node)->node == 2);
  CHECK((*node)->shared);
  CHECK((*node)->key == (*lead)->key);
  CHECK_FALSE(read_membership(format::RunPaths{run.root, 3}));
  CHECK(node_of(run.root) == 0);
  CHECK(node_of(folder.path()) == 0);
}

TEST_CASE("lead and node find each other, and a silent node is lost only after its ranks were started") {
  const test::TempDir folder;
  ::setenv("TRAINCTL_SLOTS", (folder.path() / "slots").c_str(), 1);
  auto reactor = Reactor::create();
  REQUIRE(reactor);
  const format::RunPaths run{folder.path() / "run"};
  REQUIRE(found_gang(run, 2));
  Membership member = **read_membership(run);
  member.silence = std::chrono::milliseconds(400);
  auto lead = GangLead::open(**reactor, run, member);
  REQUIRE(lead);
  member.node = 1;
  member.lead_addresses = {"127.0.0.1"};
  member.lead_port = (*read_lead(run))->port;
  auto node = std::make_unique<GangNode>(**reactor, run, member);
  (*lead)->begin(1);
  const auto both = [&](std::uint64_t now) {
    (*lead)->tick(now);
    if (node) node->tick(now);
  };
  CHECK(drive(**reactor, [&](std::uint64_t now) {
    both(now);
    return node->heard() && node->order().attempt == 1;
  }));
  CHECK((*lead)->nodes()[0].connected);
  CHECK((*lead)->nodes()[0].address == "127.0.0.1");
  CHECK((*lead)->own_address() == "127.0.0.1");
  (*lead)->prepare_next(true);
  node->report({.attempt = 1, .step = NodeStep::ready});
  CHECK(drive(**reactor, [&](std::uint64_t now) {
    both(now);
    return (*lead)->ready() && node->order().step == GangStep::prepare;
  }));
  node.reset();
  CHECK(drive(**reactor, [&](std::uint64_t now) {
    both(now);
    return !(*lead)->nodes()[0].connected;
  }));
  CHECK_FALSE((*lead)->nodes()[0].lost);
  (*lead)->launch({});
  CHECK(drive(**reactor, [&](std::uint64_t now) {
    both(now);
    return (*lead)->nodes()[0].lost;
  }));
  CHECK((*lead)->drained());
}
