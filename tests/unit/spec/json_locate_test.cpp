// SPDX-License-Identifier: Apache-2.0
#include "base/json_locate.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"

using namespace trainctl;
using base::parse_located;

namespace {

std::string where(const std::optional<SourcePosition>& at) {
  return at ? std::to_string(at->line) + ":" + std::to_string(at->column) : "-";
}

std::string first_error(std::string_view text) {
  const auto parsed = parse_located(text, "f");
  if (parsed) return "fine";
  return where(parsed.error().front().at) + " " + parsed.error().front().message;
}

}  // namespace

TEST_CASE("comments and trailing commas are fine", "[json_locate]") {
  const auto parsed = parse_located("// head\n{ /* x */ \"a\": [1, 2.50, ], // tail\n \"b\": {\"c\": null,}, }\n", "f");
  REQUIRE(parsed);
  CHECK(base::dump_json(parsed->value) == R"({"a":[1,2.5],"b":{"c":null}})");
  CHECK(where(parsed->positions.keys.at("/a")) == "2:11");
  CHECK(where(parsed->positions.values.at("/a")) == "2:16");
  CHECK(where(parsed->positions.values.at("/a/1")) == "2:20");
  CHECK(parsed->number_texts.at("/a/1") == "2.50");
  CHECK(where(parsed->positions.keys.at("/b/c")) == "3:8");
  CHECK(where(parsed->positions.values.at("")) == "2:1");
}

TEST_CASE("columns count code points", "[json_locate]") {
  const auto parsed = parse_located("{\"größe→\": \"😀\", \"b\": 1}", "f");
  REQUIRE(parsed);
  CHECK(where(parsed->positions.values.at("/größe→")) == "1:12");
  CHECK(where(parsed->positions.keys.at("/b")) == "1:17");
}

TEST_CASE("texts are read exactly", "[json_locate]") {
  const auto parsed = parse_located(R"(["a\"\\\/\b\f\n\r\t", "\u00e9\ud83d\ude00", "a/b~c"])", "f");
  REQUIRE(parsed);
  CHECK(parsed->value[0] == "a\"\\/\b\f\n\r\t");
  CHECK(parsed->value[1] == "é😀");
  const auto odd = parse_located(R"({"a/b~c": 1})", "f");
  REQUIRE(odd);
  CHECK(odd->positions.keys.contains("/a~1b~0c"));
}

TEST_CASE("numbers keep their kind", "[json_locate]") {
  const auto parsed = parse_located("[0, -1, 9223372036854775807, 18446744073709551615, 1e3, -0.5]", "f");
  REQUIRE(parsed);
  CHECK(parsed->value[2] == INT64_MAX);
  CHECK(parsed->value[3] == UINT64_MAX);
  CHECK(parsed->value[4].is_number_float());
  CHECK(parsed->value[5] == -0.5);
}

TEST_CASE("what is doubtful is refused with its position", "[json_locate]") {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"", "1:1 the file is empty"},
      {"// only\n", "2:1 the file is empty"},
      {"{\"a\": 1,\n \"a\": 2}", "2:2 duplicate key \"a\""},
      {"{\"a\": 123456789012345678901234}", "1:7 the number 123456789012345678901234 is out of range"},
      {"[1e999]", "1:2 the number 1e999 is out of range"},
      {"[NaN]", "1:2 NaN and Infinity are not JSON"},
      {"[-Infinity]", "1:2 NaN and Infinity are not JSON"},
      {"\xEF\xBB\xBF{}", "1:1 the file begins with a byte order mark"},
      {"\xFF\xFE{\0}", "1:1 the file is UTF-16"},
      {"{\n \"a\": \"\xC3(\"}", "2:8 invalid UTF-8"},
      {"[\"\xED\xA0\x80\"]", "1:3 invalid UTF-8"},
      {R"(["\ud800"])", "1:3 a lone surrogate"},
      {R"(["\ud800\u0041"])", "1:3 a lone surrogate"},
      {R"(["x\udc00"])", "1:4 a lone surrogate"},
      {R"(["\u0000"])", "1:3 NUL (\\u0000) in a text"},
      {std::string_view("[\0]", 3), "1:2 a NUL byte"},
      {"{'a': 1}", "1:2 expected a key in double quotes"},
      {"{a: 1}", "1:2 expected a key in double quotes"},
      {"{\"a\" 1}", "1:6 expected : after the key \"a\""},
      {"[1 2]", "1:4 expected , or ] after a value"},
      {"{\"a\": 1 \"b\": 2}", "1:9 expected , or } after a value"},
      {"[1,,2]", "1:4 a comma too many"},
      {"{,}", "1:2 a comma too many"},
      {"[True]", "1:2 expected a value"},
      {"[01]", "1:2 a number cannot begin with 0"},
      {"[1.]", "1:2 expected a digit after the decimal point"},
      {"[1e]", "1:2 expected a digit in the exponent"},
      {"[3.11.7]", "1:2 not a number"},
      {"[-]", "1:2 expected a digit after -"},
      {"[\"abc", "1:2 this text never ends"},
      {"[\"a\nb\"]", "1:2 this text never ends"},
      {"[\"a\tb\"]", "1:4 a control character in a text"},
      {R"(["\x"])", "1:3 an unknown escape"},
      {"{\"a\": 1", "1:1 this { is never closed"},
      {"[[1]", "1:1 this [ is never closed"},
      {"{\"a\":", "1:6 the file ends where a value should be"},
      {"{} {}", "1:4 text after the end of the document"},
      {"/* x", "1:1 this comment never ends"},
      {"# x\n{}", "1:1 # does not start a comment"},
  };
  for (const auto& [text, expected] : cases) {
    INFO(text);
    CHECK(first_error(text) == expected);
  }
}

TEST_CASE("hostile documents end quickly", "[json_locate]") {
  CHECK(first_error(std::string(1000000, '[')) == "1:65 nested deeper than 64 levels");
  CHECK(first_error(std::string(64, '[') + std::string(64, ']')) == "fine");
  CHECK(first_error(std::string(base::kMaxJsonBytes + 1, ' ')) == "1:1 the file is larger than 32 MiB");
  std::string many = "{";
  for (int i = 0; i < 100000; ++i) many += "\"k" + std::to_string(i) + "\":1,";
  CHECK(first_error(many + "}") == "fine");
}

TEST_CASE("all duplicate keys are reported", "[json_locate]") {
  const auto parsed = parse_located(R"({"a":1,"a":2,"b":{"c":1,"c":2}})", "f");
  REQUIRE_FALSE(parsed);
  REQUIRE(parsed.error().size() == 2);
  CHECK(parsed.error()[0].hint == "it is already at 1:2");
  CHECK(parsed.error()[1].message == "duplicate key \"c\"");
}

TEST_CASE("a reader that goes on gets the document and all mistakes", "[json_locate]") {
  Errors errors;
  const auto kept = parse_located(R"({"a":{"x":1},"a":{"x":2},"n":1e999,"b":3})", "f", errors);
  REQUIRE(kept);
  CHECK(base::dump_json(kept->value) == R"({"a":{"x":1},"n":null,"b":3})");
  REQUIRE(errors.size() == 2);  // what is below the second "a" is no duplicate of its own
  CHECK(errors[0].message == "duplicate key \"a\"");
  errors.clear();
  CHECK_FALSE(parse_located(R"({"a":1,"a":2)", "f", errors));
  CHECK(errors.size() == 2);
}
