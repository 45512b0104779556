// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <stdint.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "base/number.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"

using namespace trainctl;
using namespace trainctl::base;
using std::chrono::milliseconds;

TEST_CASE("line ends are counted") {
  CHECK(count_lines("") == 0);
  CHECK(count_lines("no end") == 0);
  CHECK(count_lines("\n") == 1);
  CHECK(count_lines("a\nb\n\nc") == 3);
  CHECK(count_lines(std::string(1000, '\n')) == 1000);
}

TEST_CASE("split and join") {
  CHECK(split("a,b,,c", ',') == std::vector<std::string>{"a", "b", "", "c"});
  CHECK(split("", ',') == std::vector<std::string>{""});
  CHECK(split("a,", ',') == std::vector<std::string>{"a", ""});
  CHECK(join(split("a,b,,c", ','), ", ") == "a, b, , c");
  CHECK(join({}, ", ").empty());
}

TEST_CASE("trim and case") {
  CHECK(trim(" \t a b\r\n") == "a b");
  CHECK(trim(" \n ").empty());
  CHECK(to_lower("AbZ09\xC3\x84") == "abz09\xC3\x84");
  CHECK(to_upper("abz-é") == "ABZ-é");
}

TEST_CASE("UTF-8 is checked strictly") {
  for (const char* good : {"", "abc", "é", "€", "😀", "\xEF\xBF\xBF", "\xF4\x8F\xBF\xBF", "\xED\x9F\xBF"}) {
    CAPTURE(good);
    CHECK(is_utf8(good));
    CHECK(to_utf8(good) == good);
  }
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80",
                          "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3", "\xE2\x82", "a\xF0\x9F\x98"}) {
    CAPTURE(to_utf8(bad));
    CHECK_FALSE(is_utf8(bad));
    CHECK(is_utf8(to_utf8(bad)));
  }
  CHECK(is_utf8(std::string_view("a\0b", 3)));
  CHECK(to_utf8("a\xFF"
                "b\xC3") ==
        "a\xEF\xBF\xBD"
        "b\xEF\xBF\xBD");
}

TEST_CASE("suggestions are near and never wild") {
  constexpr std::array<std::string_view, 6> kWords = {"inputs", "outputs", "environment", "resources", "id", "command"};
  CHECK(suggest("input", kWords) == "inputs");
  CHECK(suggest("ouptuts", kWords) == "outputs");
  CHECK(suggest("enviroment", kWords) == "environment");
  CHECK(suggest("COMMAND", kWords) == "command");
  CHECK(suggest("ID", kWords) == "id");
  CHECK_FALSE(suggest("xy", kWords));
  CHECK_FALSE(suggest("banana", kWords));
  CHECK_FALSE(suggest("", kWords));
  CHECK_FALSE(suggest(std::string(100000, 'a'), kWords));
  // Both are one edit away: the first one wins, so that the answer does not depend on chance.
  constexpr std::array<std::string_view, 2> kTie = {"cat", "car"};
  CHECK(suggest("cax", kTie) == "cat");
}

TEST_CASE("durations are read") {
  CHECK(parse_duration("90s").value() == milliseconds(90'000));
  CHECK(parse_duration("1.5h").value() == milliseconds(5'400'000));
  CHECK(parse_duration("2h30m").value() == milliseconds(9'000'000));
  CHECK(parse_duration("30min").value() == milliseconds(1'800'000));
  CHECK(parse_duration("500ms").value() == milliseconds(500));
  CHECK(parse_duration("7d").value() == milliseconds(7 * 86'400'000));
  CHECK(parse_duration("1w").value() == milliseconds(7 * 86'400'000));
  CHECK(parse_duration(" 0s ").value() == milliseconds(0));
  CHECK(parse_duration("0.1s").value() == milliseconds(100));
  CHECK(parse_duration("1d2h3m4s5ms").value() == milliseconds(93'784'005));
}

TEST_CASE("durations that are refused say what is accepted") {
  for (const char* bad : {"",
                          " ",
                          "90",
                          "1.5",
                          "h",
                          "-5s",
                          "+5s",
                          "5 s",
                          "5x",
                          "1..5s",
                          ".5s",
                          "5.s",
                          "1e3s",
                          "30m2h",
                          "1s1s",
                          "1h nan",
                          "nan",
                          "inf",
                          "99999999999999999999w",
                          "101w52000w"}) {
    CAPTURE(bad);
    const auto result = parse_duration(bad);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == Errc::invalid);
  }
  CHECK(parse_duration("90").error().message.find("no unit") != std::string::npos);
  CHECK(parse_duration("90").error().hint.find("2h30m") != std::string::npos);
}

TEST_CASE("sizes are read") {
  CHECK(parse_size("1024").value() == 1024);
  CHECK(parse_size("4GiB").value() == UINT64_C(4) << 30U);
  CHECK(parse_size("500MB").value() == 500'000'000);
  CHECK(parse_size("1.5G").value() == UINT64_C(1610612736));
  CHECK(parse_size("2 kb").value() == 2000);
  CHECK(parse_size("2K").value() == 2048);
  CHECK(parse_size("1TiB").value() == UINT64_C(1) << 40U);
  CHECK(parse_size("10B").value() == 10);
  CHECK(parse_size("18446744073709551615").value() == std::numeric_limits<std::uint64_t>::max());
  for (const char* bad :
       {"", "G", "-1", "1.5", "1.5B", "5XB", "18446744073709551616", "99999999PB", "1e9", "0x10", "1 2"}) {
    CAPTURE(bad);
    const auto result = parse_size(bad);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == Errc::invalid);
  }
}

TEST_CASE("durations are shown") {
  CHECK(format_duration(milliseconds(0)) == "0.0 s");
  CHECK(format_duration(milliseconds(1)) == "1 ms");
  CHECK(format_duration(milliseconds(99)) == "99 ms");
  CHECK(format_duration(milliseconds(400)) == "0.4 s");
  CHECK(format_duration(milliseconds(12'400)) == "12.4 s");
  CHECK(format_duration(milliseconds(59'940)) == "59.9 s");
  CHECK(format_duration(milliseconds(59'960)) == "1 min");
  CHECK(format_duration(milliseconds(200'000)) == "3 min 20 s");
  CHECK(format_duration(milliseconds(3'599'600)) == "1 h");
  CHECK(format_duration(milliseconds(7'500'000)) == "2 h 5 min");
  CHECK(format_duration(milliseconds(273'600'000)) == "3 d 4 h");
  CHECK(format_duration(milliseconds(-400)) == "-0.4 s");
  CHECK_FALSE(format_duration(milliseconds::min()).empty());
  CHECK_FALSE(format_duration(milliseconds::max()).empty());
}

TEST_CASE("sizes, counts and numbers are shown") {
  CHECK(format_size(0) == "0 B");
  CHECK(format_size(612) == "612 B");
  CHECK(format_size(14'300) == "14 KB");
  CHECK(format_size(1'200'000) == "1.2 MB");
  CHECK(format_size(999'999) == "1.0 MB");
  CHECK(format_size(48'000'000) == "48 MB");
  CHECK(format_size(std::numeric_limits<std::uint64_t>::max()) == "18 EB");
  CHECK(format_count(0) == "0");
  CHECK(format_count(999) == "999");
  CHECK(format_count(3212) == "3,212");
  CHECK(format_count(1'234'567) == "1,234,567");
  CHECK(format_number(0.967) == "0.967");
  CHECK(format_number(0.96749999) == "0.9675");
  CHECK(format_number(1.2e-5) == "1.2e-05");
  CHECK(format_number(100) == "100");
  CHECK(format_number(-0.0) == "0");
  CHECK(format_number(std::numeric_limits<double>::quiet_NaN()) == "nan");
  CHECK(format_number(-std::numeric_limits<double>::infinity()) == "-inf");
  CHECK(format_number(1.0 / 3, 2) == "0.33");
  CHECK_FALSE(format_number(std::numeric_limits<double>::denorm_min(), 99).empty());
}

TEST_CASE("a text is a number or it is none") {
  CHECK(parse_number("1e-4") == 1e-4);
  CHECK(parse_number("0.10") == 0.1);
  CHECK(parse_number("+5.") == 5);
  CHECK(parse_number("-.5E+2") == -50);
  CHECK(parse_number("007") == 7);
  for (const std::string_view text : {"", "+", "-", ".", "+-1", "++1", "nan", "inf", "-inf", "-nan(1)", "0x10", "1e",
                                      "1e999", " 1", "1 ", "1,5", "1f"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_number(text));
  }
}

TEST_CASE("shell words are quoted when they need to be") {
  CHECK(shell_quote("train.py") == "train.py");
  CHECK(shell_quote("--lr=0.1") == "--lr=0.1");
  CHECK(shell_quote("") == "''");
  CHECK(shell_quote("a b") == "'a b'");
  CHECK(shell_quote("it's") == "'it'\\''s'");
  CHECK(shell_quote("$HOME") == "'$HOME'");
  CHECK(shell_quote("~") == "'~'");
  CHECK(shell_quote("=ls") == "'=ls'");
  CHECK(shell_quote("a\nb") == "'a\nb'");
  CHECK(shell_quote("é") == "'é'");
}
