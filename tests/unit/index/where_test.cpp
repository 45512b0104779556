// SPDX-License-Identifier: Apache-2.0
#include "index/where.hpp"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "trainctl/error.hpp"

namespace {

using namespace trainctl;
using index::Where;

/// The tree as text, fully parenthesised.
std::string shown(const Where& where) {
  if (where.kind == Where::Kind::comparison) {
    const std::string quote = where.value.quoted ? "'" : "";
    return where.field.joined() + std::string(to_string(where.compare)) + quote + where.value.text + quote;
  }
  if (where.kind == Where::Kind::negation) return "not " + shown(where.children.front());
  std::string text = "(";
  for (const Where& child : where.children) {
    text += (text.size() > 1 ? where.kind == Where::Kind::all ? " and " : " or " : "") + shown(child);
  }
  return text + ")";
}

TEST_CASE("where expressions are read with the usual precedence") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"state = failed", "state=failed"},
      {"state==failed", "state=failed"},
      {"metrics.accuracy>0.9", "metrics.accuracy>0.9"},
      {"a = 1 or b = 2 and c = 3", "(a=1 or (b=2 and c=3))"},
      {"(a = 1 or b = 2) and c = 3", "((a=1 or b=2) and c=3)"},
      {"not a = 1 and b <> 2", "(not a=1 and b!=2)"},
      {"NOT (a = 1 OR b = 2)", "not (a=1 or b=2)"},
      {"name ~ \"dig*\" and name !~ 'x y'", "(name~'dig*' and name!~'x y')"},
      {"created > 7d", "created>7d"},
      {"metrics.\"val acc\".best >= 1e-3", "metrics.val acc.best>=1e-3"},
      {"metrics.val/loss < -0.5", "metrics.val/loss<-0.5"},
      {R"(tags.team = "a\"b\\c")", R"(tags.team='a"b\c')"},
      {"order = 1 and orange = 2 and not_done = 3", "(order=1 and orange=2 and not_done=3)"},
      {"or = 1 and not = 2", "(or=1 and not=2)"},
      {"started = null", "started=null"},
      {"tags.größe = groß", "tags.größe=groß"},
  };
  for (const auto& [text, expected] : cases) {
    INFO(text);
    const auto where = index::parse_where(text);
    REQUIRE(where.has_value());
    CHECK(shown(*where) == expected);
  }
}

TEST_CASE("mistakes in where expressions have a position") {
  struct Case {
    std::string text, message;
    std::size_t column;
  };
  const std::vector<Case> cases = {
      {"", "expected a field", 1},
      {"state", "expected an operator after state", 6},
      {"state =", "expected a value", 8},
      {"state = failed state", "expected \"and\"", 16},
      {"(state = failed", "this parenthesis is never closed", 1},
      {"state = failed)", "this parenthesis was never opened", 15},
      {"name = \"x", "this quote is never closed", 8},
      {"a = 1 and", "expected a field", 10},
      {"größe = 1 and ?", "expected a field", 15},
      {"a. = 1", "expected a field", 3},
      {std::string(70, '(') + "a = 1", "nested more than", 66},
  };
  for (const Case& each : cases) {
    INFO(each.text);
    const auto where = index::parse_where(each.text);
    REQUIRE_FALSE(where.has_value());
    CHECK(where.error().code == Errc::invalid);
    CHECK(where.error().message.starts_with(each.message));
    REQUIRE(where.error().at.has_value());
    CHECK(where.error().at->column == each.column);
    CHECK(where.error().at->file == "--where");
  }
}

}  // namespace
