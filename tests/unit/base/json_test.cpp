// SPDX-License-Identifier: Apache-2.0
#include "base/json.hpp"

#include <cstddef>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "support/catch.hpp"
#include "trainctl/error.hpp"

using namespace trainctl;
using namespace trainctl::base;

TEST_CASE("JSON is read with the order of its keys") {
  const auto json = parse_json(R"({"z": 1, "a": [true, null, {"b": -2.5}], "m": "é", "e": {}, "l": []})");
  REQUIRE(json);
  CHECK(dump_json(*json) == R"({"z":1,"a":[true,null,{"b":-2.5}],"m":"é","e":{},"l":[]})");
  CHECK(pretty_json(Json{{"a", 1}}) == "{\n  \"a\": 1\n}\n");
  CHECK(dump_json(parse_json("\xEF\xBB\xBF 7 ").value()) == "7");
  CHECK(dump_json(parse_json("18446744073709551615").value()) == "18446744073709551615");
}

TEST_CASE("the last duplicate wins") {
  CHECK(dump_json(parse_json(R"({"a":[1,2],"b":2,"a":{"c":3}})").value()) == R"({"a":{"c":3},"b":2})");
  std::string many = "{";
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 100; ++i) many += "\"k" + std::to_string(i) + "\":" + std::to_string(round * 1000 + i) + ",";
  }
  many.back() = '}';
  const Json json = parse_json(many).value();
  CHECK(json.size() == 100);
  CHECK(json["k0"] == 1000);
  CHECK(json["k99"] == 1099);
}

TEST_CASE("depth and size are bounded") {
  auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(parse_json(nested(kMaxJsonDepth)));
  CHECK_FALSE(parse_json(nested(kMaxJsonDepth + 1)));
  const auto bomb = parse_json(std::string(5'000'000, '['));
  REQUIRE_FALSE(bomb);
  CHECK(bomb.error().code == Errc::invalid);
  CHECK(bomb.error().message.find("64") != std::string::npos);
  std::string objects;
  for (int i = 0; i < 100; ++i) objects += "{\"a\":";
  CHECK(parse_json(objects).error().message.find("deeper") != std::string::npos);
  const auto large = parse_json(std::string(kMaxJsonBytes + 1, ' '));
  REQUIRE_FALSE(large);
  CHECK(large.error().code == Errc::invalid);
}

TEST_CASE("an object with very many keys is read in linear time") {
  std::string text = "{";
  for (int i = 0; i < 100'000; ++i) text += "\"k" + std::to_string(i) + "\":0,";
  text.back() = '}';
  CHECK(parse_json(text).value().size() == 100'000);
}

TEST_CASE("mistakes carry line and column") {
  const auto missing = parse_json("{\n  \"é\": x\n}");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == Errc::invalid);
  REQUIRE(missing.error().at);
  CHECK(missing.error().at->line == 2);
  CHECK(missing.error().at->column == 8);
  CHECK(missing.error().message.find("line 2, column 8") != std::string::npos);
  CHECK(missing.error().message.find("json.exception") == std::string::npos);
  for (const char* bad : {"", " ", "{", "[1,]", "{\"a\":1,}", "{'a':1}", "nan", "NaN", "01", "1 2", "\"\x80\"",
                          "\"\n\"", "// c\n1", "tru", "\"\\ud800\"", "1e999", "\xEF\xBB", "{\"a\" 1}"}) {
    CAPTURE(bad);
    const auto result = parse_json(bad);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == Errc::invalid);
    CHECK(result.error().at);
  }
}

TEST_CASE("writing never throws") {
  CHECK(dump_json(Json("a\xFF")) == "\"a\xEF\xBF\xBD\"");
  CHECK(dump_json(Json(std::numeric_limits<double>::quiet_NaN())) == "null");
  CHECK(pretty_json(Json("\xC3")) == "\"\xEF\xBF\xBD\"\n");
}

TEST_CASE("pointers are escaped") {
  CHECK(pointer_append("", "a") == "/a");
  CHECK(pointer_append("/a", "b/c~d") == "/a/b~1c~0d");
  CHECK(pointer_append("/a", "") == "/a/");
}
