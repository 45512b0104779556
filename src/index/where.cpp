// SPDX-License-Identifier: Apache-2.0
#include "index/where.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {
namespace {

constexpr std::size_t kMostDepth = 64;
constexpr std::size_t kMostBytes = 64U << 10U;

constexpr std::array<std::pair<std::string_view, Compare>, 10> kOperators = {{{"==", Compare::equal},
                                                                              {"!=", Compare::unequal},
                                                                              {"<>", Compare::unequal},
                                                                              {"<=", Compare::less_equal},
                                                                              {">=", Compare::greater_equal},
                                                                              {"!~", Compare::not_glob},
                                                                              {"=", Compare::equal},
                                                                              {"<", Compare::less},
                                                                              {">", Compare::greater},
                                                                              {"~", Compare::glob}}};

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/// Letters, digits and what names of metrics are made of; every byte of a character beyond ASCII.
bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '/' ||
         c == '-' || c == ':' || c == '@' || c == '%' || c == '+' || static_cast<unsigned char>(c) >= 0x80;
}

/// A value without quotes goes on until a space or parenthesis.
bool is_value(char c) {
  return !is_space(c) && c != '(' && c != ')' && c != '"' && c != '\'' && c != '=' && c != '<' && c != '>' && c != '!';
}

class Parser {
 public:
  Parser(std::string_view text, std::string_view option) : text_(text), option_(option) {}

  Result<Where> parse() {
    TRY_ASSIGN(Where where, any(0));
    skip_spaces();
    if (at_ < text_.size()) {
      if (text_[at_] == ')') return wrong("this parenthesis was never opened");
      return wrong("expected \"and\", \"or\" or the end", "combine conditions with and, or");
    }
    return where;
  }

  Result<FieldText> field() {
    skip_spaces();
    FieldText field;
    field.column = column(at_);
    for (;;) {
      TRY_ASSIGN(std::string part, field_part());
      field.parts.push_back(std::move(part));
      if (at_ >= text_.size() || text_[at_] != '.') return field;
      ++at_;
    }
  }

  Result<FieldText> only_field() {
    TRY_ASSIGN(FieldText found, field());
    skip_spaces();
    if (at_ < text_.size()) return wrong("unexpected text after the field");
    return found;
  }

 private:
  Result<Where> any(std::size_t depth) {
    TRY_ASSIGN(Where first, all(depth));
    if (!take_word("or")) return first;
    Where where{.kind = Where::Kind::any, .children = {}, .field = {}, .value = {}};
    where.children.push_back(std::move(first));
    do {
      TRY_ASSIGN(Where next, all(depth));
      where.children.push_back(std::move(next));
    } while (take_word("or"));
    return where;
  }

  Result<Where> all(std::size_t depth) {
    TRY_ASSIGN(Where first, single(depth));
    if (!take_word("and")) return first;
    Where where{.kind = Where::Kind::all, .children = {}, .field = {}, .value = {}};
    where.children.push_back(std::move(first));
    do {
      TRY_ASSIGN(Where next, single(depth));
      where.children.push_back(std::move(next));
    } while (take_word("and"));
    return where;
  }

  Result<Where> single(std::size_t depth) {
    if (depth > kMostDepth) return wrong("nested more than " + std::to_string(kMostDepth) + " levels deep");
    if (take_word("not")) {
      TRY_ASSIGN(Where inner, single(depth + 1));
      Where where{.kind = Where::Kind::negation, .children = {}, .field = {}, .value = {}};
      where.children.push_back(std::move(inner));
      return where;
    }
    skip_spaces();
    if (at_ < text_.size() && text_[at_] == '(') {
      const std::size_t opened = at_++;
      TRY_ASSIGN(Where inner, any(depth + 1));
      skip_spaces();
      if (at_ >= text_.size()) return where_error("this parenthesis is never closed", column(opened), {}, option_);
      if (text_[at_] != ')') return wrong("expected \"and\", \"or\" or \")\"");
      ++at_;
      return inner;
    }
    return comparison();
  }

  Result<Where> comparison() {
    Where where;
    TRY_ASSIGN(where.field, field());
    skip_spaces();
    const auto compare = take_operator();
    if (!compare) return wrong("expected an operator after " + where.field.joined(), "one of = != < <= > >= ~ !~");
    where.compare = *compare;
    TRY_ASSIGN(where.value, value());
    return where;
  }

  std::optional<Compare> take_operator() {
    for (const auto& [text, compare] : kOperators) {
      if (text_.substr(at_).starts_with(text)) {
        at_ += text.size();
        return compare;
      }
    }
    return std::nullopt;
  }

  Result<std::string> field_part() {
    if (at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\'')) return in_quotes();
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_name(text_[at_])) ++at_;
    if (at_ == begin)
      return wrong("expected a field", "for example state, metrics.accuracy, parameters.lr or tags.team");
    return std::string(text_.substr(begin, at_ - begin));
  }

  Result<ValueText> value() {
    skip_spaces();
    ValueText value{.text = {}, .quoted = false, .column = column(at_)};
    if (at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\'')) {
      value.quoted = true;
      TRY_ASSIGN(value.text, in_quotes());
      return value;
    }
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_value(text_[at_])) ++at_;
    if (at_ == begin) return wrong("expected a value", "a number, a word, or text in quotes");
    value.text = text_.substr(begin, at_ - begin);
    return value;
  }

  Result<std::string> in_quotes() {
    const std::size_t begin = at_;
    const char quote = text_[at_++];
    std::string text;
    for (; at_ < text_.size(); ++at_) {
      char c = text_[at_];
      if (c == quote) {
        ++at_;
        return text;
      }
      if (c == '\\' && at_ + 1 < text_.size()) c = text_[++at_];
      text += c;
    }
    return where_error("this quote is never closed", column(begin), {}, option_);
  }

  bool take_word(std::string_view word) {
    skip_spaces();
    const std::string_view rest = text_.substr(at_);
    if (rest.size() < word.size() || base::to_lower(rest.substr(0, word.size())) != word) return false;
    if (rest.size() > word.size() && (is_name(rest[word.size()]) || rest[word.size()] == '.')) return false;
    // `or = 1` means a field that happens to be called so.
    std::size_t after = at_ + word.size();
    while (after < text_.size() && is_space(text_[after])) ++after;
    if (after < text_.size() &&
        (text_[after] == '=' || text_[after] == '<' || text_[after] == '>' || text_[after] == '~')) {
      return false;
    }
    at_ += word.size();
    return true;
  }

  void skip_spaces() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }

  [[nodiscard]] std::size_t column(std::size_t offset) const {
    std::size_t points = 1;
    for (std::size_t i = 0; i < offset; ++i) points += (static_cast<unsigned char>(text_[i]) & 0xC0U) != 0x80U ? 1 : 0;
    return points;
  }

  [[nodiscard]] tl::unexpected<Error> wrong(std::string message, std::string hint = {}) const {
    if (at_ < text_.size()) {
      message += ", found \"" + base::to_utf8(text_.substr(at_, 12)) + "\"";
    } else if (message.starts_with("expected")) {
      message += ", found the end";
    }
    return where_error(std::move(message), column(at_), std::move(hint), option_);
  }

  std::string_view text_;
  std::string_view option_;
  std::size_t at_ = 0;
};

}  // namespace

std::string FieldText::joined(std::size_t from) const {
  std::string text;
  for (std::size_t i = from; i < parts.size(); ++i) text += (i > from ? "." : "") + parts[i];
  return text;
}

tl::unexpected<Error> where_error(std::string message, std::size_t column, std::string hint, std::string_view option) {
  Error error{.code = Errc::invalid, .message = std::move(message)};
  error.at = SourcePosition{.file = std::string(option), .line = 1, .column = column};
  error.hint = std::move(hint);
  return tl::make_unexpected(std::move(error));
}

Result<Where> parse_where(std::string_view text) {
  if (text.size() > kMostBytes) return where_error("the expression is longer than 64 KiB", 1);
  if (!base::is_utf8(text)) return where_error("the expression is not UTF-8", 1);
  return Parser(text, "--where").parse();
}

Result<FieldText> parse_field(std::string_view text, std::string_view option) {
  if (!base::is_utf8(text)) return where_error("the field is not UTF-8", 1, {}, option);
  return Parser(text, option).only_field();
}

std::string_view to_string(Compare compare) {
  for (const auto& [text, known] : kOperators) {
    if (known == compare && text != "==" && text != "<>") return text;
  }
  return "==";
}

}  // namespace trainctl::index
