// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <string>

#include "host/enter/order.hpp"

using namespace trainctl::host;

TEST_CASE("an order is one word of hexadecimal digits, whatever is in it") {
  const std::string all_bytes = [] {
    std::string text;
    for (int i = 1; i < 256; ++i) text += static_cast<char>(i);
    return text;
  }();
  const EnterOrder order{.folder = "/a folder/ü",
                         .argv = {"", "two words", "$(id)\n", all_bytes, ""},
                         .rank = 70000,
                         .port = 65535,
                         .stays = true,
                         .stand = Stand::container};
  const std::string word = enter_word(order);
  CHECK(word.find_first_not_of("0123456789abcdef") == std::string::npos);
  const auto read = read_enter_word(word);
  REQUIRE(read);
  CHECK(read->folder == order.folder);
  CHECK(read->argv == order.argv);
  CHECK(read->rank == 70000);
  CHECK(read->port == 65535);
  CHECK(read->stays);
  CHECK(read->stand == Stand::container);
  const auto shell = read_enter_word(enter_word({.folder = "/r"}));
  REQUIRE(shell);
  CHECK(shell->argv.empty());
  CHECK(shell->rank == 0);
  CHECK(shell->port == 0);
  CHECK_FALSE(shell->stays);
  CHECK(shell->stand == Stand::outside);
}

TEST_CASE("what is no order is refused") {
  const std::string word = enter_word({.folder = "/r", .argv = {"ls"}});
  for (const std::string& wrong : {std::string(), std::string("2f"), std::string("xx"), word + "0", word + "61",
                                   std::string("2f72003200300030003000"),          // stays is 0 or 1
                                   std::string("2f72003000330030003000"),          // there are three places to stand
                                   std::string("2f7200300030003635353336003000"),  // ports end at 65535
                                   std::string("2f72003000300030002d3100"),        // ranks begin at 0
                                   std::string("2f7200300030003000")}) {           // without a rank
    CAPTURE(wrong);
    CHECK_FALSE(read_enter_word(wrong));
  }
}
