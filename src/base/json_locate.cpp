// SPDX-License-Identifier: Apache-2.0
#include "base/json_locate.hpp"

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/json.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::base {
namespace {

constexpr std::size_t kMaxErrors = 100;

/// Length of the well-formed UTF-8 sequence at the start of `text`, 0 when it is malformed.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xC0U) == 0x80U; };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const bool overlong = lead == 0xE0 && byte(1) < 0xA0;
    const bool surrogate = lead == 0xED && byte(1) > 0x9F;
    return tail(1) && tail(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool overlong = lead == 0xF0 && byte(1) < 0x90;
    const bool too_large = lead == 0xF4 && byte(1) > 0x8F;
    return tail(1) && tail(2) && tail(3) && !overlong && !too_large ? 4 : 0;
  }
  return 0;
}

void append_code_point(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t value) { out.push_back(static_cast<char>(static_cast<unsigned char>(value))); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0U | (code >> 6U));
    put(0x80U | (code & 0x3FU));
  } else if (code < 0x10000) {
    put(0xE0U | (code >> 12U));
    put(0x80U | ((code >> 6U) & 0x3FU));
    put(0x80U | (code & 0x3FU));
  } else {
    put(0xF0U | (code >> 18U));
    put(0x80U | ((code >> 12U) & 0x3FU));
    put(0x80U | ((code >> 6U) & 0x3FU));
    put(0x80U | (code & 0x3FU));
  }
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_word(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/// Recursive descent; the recursion is at most kMaxJsonDepth deep. Every function returns false after a fatal mistake.
class Parser {
 public:
  Parser(std::string_view text, std::string file) : text_(text), file_(std::move(file)) {}

  std::optional<LocatedJson> run(Errors& errors) {
    const bool whole = check_whole_text() && document();
    errors.insert(errors.end(), std::make_move_iterator(errors_.begin()), std::make_move_iterator(errors_.end()));
    if (!whole) return std::nullopt;
    return std::move(out_);
  }

 private:
  [[nodiscard]] SourcePosition here() const { return {file_, line_, column_}; }
  [[nodiscard]] bool done() const { return at_ >= text_.size(); }
  [[nodiscard]] char peek() const { return done() ? '\0' : text_[at_]; }

  void bump() {
    const auto c = static_cast<unsigned char>(text_[at_++]);
    if (c == '\n') {
      ++line_;
      column_ = 1;
    } else if ((static_cast<unsigned char>(peek()) & 0xC0U) != 0x80U || done()) {
      ++column_;
    }
  }
  void skip(std::size_t count) {
    while (count-- > 0 && !done()) bump();
  }

  bool complain(SourcePosition at, std::string message, std::string hint = {}) {
    if (errors_.size() < kMaxErrors) {
      Error error{.code = Errc::invalid, .message = std::move(message)};
      error.at = std::move(at);
      error.hint = std::move(hint);
      errors_.push_back(std::move(error));
    }
    return false;
  }
  bool fail_here(std::string message, std::string hint = {}) {
    return complain(here(), std::move(message), std::move(hint));
  }

  bool check_whole_text() {
    if (text_.size() > kMaxJsonBytes) {
      return complain({file_, 1, 1}, "the file is larger than 32 MiB", "is this the right file?");
    }
    if (text_.substr(0, 3) == "\xEF\xBB\xBF") {
      return complain({file_, 1, 1}, "the file begins with a byte order mark", "save it as UTF-8 without BOM");
    }
    if (text_.substr(0, 2) == "\xFF\xFE" || text_.substr(0, 2) == "\xFE\xFF") {
      return complain({file_, 1, 1}, "the file is UTF-16", "save it as UTF-8");
    }
    std::size_t line = 1;
    std::size_t column = 1;
    for (std::size_t i = 0; i < text_.size();) {
      const std::size_t length = sequence_length(text_.substr(i));
      if (length == 0) return complain({file_, line, column}, "invalid UTF-8", "save the file as UTF-8");
      if (text_[i] == '\0') return complain({file_, line, column}, "a NUL byte", "is this a text file?");
      ++column;
      if (text_[i] == '\n') {
        ++line;
        column = 1;
      }
      i += length;
    }
    return true;
  }

  bool document() {
    if (!blanks()) return false;
    if (done()) return fail_here("the file is empty", "a run configuration is an object: { \"script\": \"train.py\" }");
    if (!value(out_.value, "", 1)) return false;
    if (!blanks()) return false;
    if (!done()) return fail_here("text after the end of the document", "one document a file");
    return true;
  }

  /// White space and comments.
  bool blanks() {
    while (!done()) {
      const char c = peek();
      if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        bump();
      } else if (text_.substr(at_, 2) == "//") {
        while (!done() && peek() != '\n') bump();
      } else if (text_.substr(at_, 2) == "/*") {
        const SourcePosition start = here();
        const std::size_t end = text_.find("*/", at_ + 2);
        if (end == std::string_view::npos) return complain(start, "this comment never ends", "close it with */");
        skip(end + 2 - at_);
      } else if (c == '#') {
        return fail_here("# does not start a comment", "write // instead");
      } else {
        break;
      }
    }
    return true;
  }

  bool value(Json& out, const std::string& pointer, std::size_t depth) {
    if (depth > kMaxJsonDepth) return fail_here("nested deeper than 64 levels");
    out_.positions.values.emplace(pointer, here());
    const char c = peek();
    if (c == '{') return object(out, pointer, depth);
    if (c == '[') return array(out, pointer, depth);
    if (c == '"') {
      std::string text;
      if (!string(text)) return false;
      out = std::move(text);
      return true;
    }
    if (c == '-' || is_digit(c)) return number(out, pointer);
    return word(out);
  }

  bool object(Json& out, const std::string& pointer, std::size_t depth) {
    const SourcePosition start = here();
    bump();
    // The vector below ordered_map: its own insert looks through all keys, which is quadratic for hostile files.
    Json::object_t members;
    while (true) {
      if (!blanks()) return false;
      if (done()) return complain(start, "this { is never closed");
      if (peek() == '}') break;
      if (!member(members, pointer, depth)) return false;
      if (!blanks()) return false;
      if (peek() == ',') {
        bump();
      } else if (peek() != '}') {
        return done() ? complain(start, "this { is never closed") : fail_here("expected , or } after a value");
      }
    }
    bump();
    out = std::move(members);
    return true;
  }

  bool member(Json::object_t& members, const std::string& pointer, std::size_t depth) {
    const SourcePosition at = here();
    if (peek() != '"') return bad_key();
    std::string key;
    if (!string(key)) return false;
    const std::string inner = pointer_append(pointer, key);
    const auto [known, fresh] = out_.positions.keys.emplace(inner, at);
    if (!fresh) {
      complain(at, "duplicate key \"" + key + "\"",
               "it is already at " + std::to_string(known->second.line) + ":" + std::to_string(known->second.column));
    }
    if (!blanks()) return false;
    if (peek() != ':') return fail_here("expected : after the key \"" + key + "\"");
    bump();
    if (!blanks()) return false;
    Json inner_value;
    // What is below a duplicate has places of its own: it is no second duplicate.
    if (!value(inner_value, fresh ? inner : inner + "~" + std::to_string(at_), depth + 1)) return false;
    if (fresh) members.emplace_back(std::move(key), std::move(inner_value));
    return true;
  }

  bool bad_key() {
    if (peek() == ',') return fail_here("a comma too many");
    if (peek() == '\'') return fail_here("expected a key in double quotes", "JSON has no single quotes");
    return fail_here("expected a key in double quotes");
  }

  bool array(Json& out, const std::string& pointer, std::size_t depth) {
    const SourcePosition start = here();
    bump();
    Json::array_t items;
    while (true) {
      if (!blanks()) return false;
      if (done()) return complain(start, "this [ is never closed");
      if (peek() == ']') break;
      if (peek() == ',') return fail_here("a comma too many");
      Json item;
      if (!value(item, pointer_append(pointer, std::to_string(items.size())), depth + 1)) return false;
      items.push_back(std::move(item));
      if (!blanks()) return false;
      if (peek() == ',') {
        bump();
      } else if (peek() != ']') {
        return done() ? complain(start, "this [ is never closed") : fail_here("expected , or ] after a value");
      }
    }
    bump();
    out = std::move(items);
    return true;
  }

  bool string(std::string& out) {
    const SourcePosition start = here();
    bump();
    while (true) {
      if (done() || peek() == '\n') return complain(start, "this text never ends", "close it with \" on the same line");
      const char c = peek();
      if (c == '"') break;
      if (static_cast<unsigned char>(c) < 0x20) {
        return fail_here("a control character in a text", c == '\t' ? "write \\t" : "write it as \\u00XX");
      }
      if (c == '\\') {
        if (!escape(out)) return false;
      } else {
        out.push_back(c);
        bump();
      }
    }
    bump();
    return true;
  }

  bool escape(std::string& out) {
    const SourcePosition start = here();
    bump();
    const char c = peek();
    constexpr std::string_view kNames = "\"\\/bfnrt";
    constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";
    if (const std::size_t i = kNames.find(c); !done() && i != std::string_view::npos) {
      out.push_back(kValues[i]);
      bump();
      return true;
    }
    if (c != 'u') {
      return complain(start, "an unknown escape", "a backslash itself is written \\\\");
    }
    std::optional<std::uint32_t> code = hex4();
    if (!code) return complain(start, "expected four hexadecimal digits after \\u");
    if (*code == 0) return complain(start, "NUL (\\u0000) in a text", "no program can be given one");
    if (*code >= 0xDC00 && *code <= 0xDFFF) return complain(start, "a lone surrogate");
    if (*code >= 0xD800 && *code <= 0xDBFF) {
      if (text_.substr(at_, 2) != "\\u") return complain(start, "a lone surrogate");
      bump();
      const std::optional<std::uint32_t> low = hex4();
      if (!low || *low < 0xDC00 || *low > 0xDFFF) return complain(start, "a lone surrogate");
      code = 0x10000U + ((*code - 0xD800U) << 10U) + (*low - 0xDC00U);
    }
    append_code_point(out, *code);
    return true;
  }

  /// The digits after "u", which is consumed too.
  std::optional<std::uint32_t> hex4() {
    if (text_.size() - at_ < 5) return std::nullopt;
    std::uint32_t code = 0;
    const char* first = text_.data() + at_ + 1;
    const auto [end, problem] = std::from_chars(first, first + 4, code, 16);
    if (problem != std::errc() || end != first + 4) return std::nullopt;
    skip(5);
    return code;
  }

  bool number(Json& out, const std::string& pointer) {
    const SourcePosition start = here();
    std::size_t end = at_;
    const auto look = [&](std::size_t i) { return i < text_.size() ? text_[i] : '\0'; };
    const auto digits = [&] {
      const std::size_t first = end;
      while (is_digit(look(end))) ++end;
      return end - first;
    };
    if (look(end) == '-') ++end;
    if (look(end) == 'I' || look(end) == 'i') return word_error(start, text_.substr(at_, 9));
    const bool leading_zero = look(end) == '0' && is_digit(look(end + 1));
    if (digits() == 0) return complain(start, "expected a digit after -");
    bool integral = true;
    if (look(end) == '.') {
      integral = false;
      ++end;
      if (digits() == 0) return complain(start, "expected a digit after the decimal point");
    }
    if (look(end) == 'e' || look(end) == 'E') {
      integral = false;
      ++end;
      if (look(end) == '+' || look(end) == '-') ++end;
      if (digits() == 0) return complain(start, "expected a digit in the exponent");
    }
    if (leading_zero) return complain(start, "a number cannot begin with 0", "is it meant as text? write it in quotes");
    if (is_word(look(end)) || look(end) == '.') return complain(start, "not a number", "texts need double quotes");
    const std::string_view literal = text_.substr(at_, end - at_);
    skip(literal.size());
    if (!integral) out_.number_texts.emplace(pointer, literal);
    if (!store_number(out, literal, integral)) {
      complain(start, "the number " + std::string(literal.substr(0, 40)) + " is out of range", "write it as text");
    }
    return true;
  }

  static bool store_number(Json& out, std::string_view literal, bool integral) {
    const char* first = literal.data();
    const char* last = first + literal.size();
    const auto ok = [last](const std::from_chars_result& r) { return r.ec == std::errc() && r.ptr == last; };
    if (integral) {
      std::int64_t whole = 0;
      std::uint64_t natural = 0;
      if (ok(std::from_chars(first, last, whole))) {
        out = whole;
        return true;
      }
      if (ok(std::from_chars(first, last, natural))) {
        out = natural;
        return true;
      }
      return false;
    }
    double real = 0;
    if (!ok(std::from_chars(first, last, real))) return false;
    out = real;
    return true;
  }

  bool word(Json& out) {
    const SourcePosition start = here();
    std::size_t end = at_;
    while (end < text_.size() && is_word(text_[end])) ++end;
    const std::string_view name = text_.substr(at_, end - at_);
    if (name == "true" || name == "false") {
      out = name == "true";
    } else if (name != "null") {
      return word_error(start, name);
    }
    skip(name.size());
    return true;
  }

  bool word_error(SourcePosition at, std::string_view name) {
    std::string lower(name);
    for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (lower == "nan" || lower == "inf" || lower.substr(0, 4) == "-inf" || lower == "infinity") {
      return complain(std::move(at), "NaN and Infinity are not JSON",
                      "write it as text if the script understands that");
    }
    if (lower == "true" || lower == "false") return complain(std::move(at), "expected a value", "write " + lower);
    if (lower == "none" || lower == "undefined") return complain(std::move(at), "expected a value", "write null");
    if (!name.empty()) return complain(std::move(at), "expected a value", "texts need double quotes");
    if (done()) return complain(std::move(at), "the file ends where a value should be");
    if (peek() == '\'') return complain(std::move(at), "expected a value", "JSON has no single quotes; write \"…\"");
    return complain(std::move(at), "expected a value");
  }

  std::string_view text_;
  std::string file_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
  std::size_t column_ = 1;
  LocatedJson out_;
  Errors errors_;
};

}  // namespace

ResultAll<LocatedJson> parse_located(std::string_view text, std::string file_name) {
  Errors errors;
  auto located = parse_located(text, std::move(file_name), errors);
  if (!errors.empty()) return tl::make_unexpected(std::move(errors));
  return std::move(*located);
}

std::optional<LocatedJson> parse_located(std::string_view text, std::string file_name, Errors& errors) {
  return Parser(text, std::move(file_name)).run(errors);
}

}  // namespace trainctl::base
