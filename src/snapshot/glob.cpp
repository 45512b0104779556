// SPDX-License-Identifier: Apache-2.0
#include "snapshot/glob.hpp"

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace trainctl::snapshot {
namespace {

/// Bytes in the C locale, as ranges of first and last: "az" is a to z.
struct CharacterClass {
  std::string_view name;
  std::string_view ranges;
};
using namespace std::string_view_literals;
constexpr std::array<CharacterClass, 12> kClasses = {{{"alnum", "azAZ09"},
                                                      {"alpha", "azAZ"},
                                                      {"blank", "  \t\t"},
                                                      {"cntrl", "\0\x1f\x7f\x7f"sv},
                                                      {"digit", "09"},
                                                      {"graph", "!~"},
                                                      {"lower", "az"},
                                                      {"print", " ~"},
                                                      {"punct", "!/:@[`{~"},
                                                      {"space", "  \t\r"},
                                                      {"upper", "AZ"},
                                                      {"xdigit", "09afAF"}}};

/// Adds the bytes of a class; false when there is none of that name.
bool add_class(std::string_view name, std::bitset<256>& set) {
  for (const CharacterClass& known : kClasses) {
    if (known.name != name) continue;
    for (std::size_t i = 0; i + 1 < known.ranges.size(); i += 2) {
      for (auto c = static_cast<unsigned char>(known.ranges[i]); c <= static_cast<unsigned char>(known.ranges[i + 1]);
           ++c)
        set.set(c);
    }
    return true;
  }
  return false;
}

bool is_special(char c) {
  return c == '*' || c == '?' || c == '[' || c == '\\';
}

}  // namespace

// git compares the literal beginning of a pattern first and looks at the rest alone: a `**` right behind that beginning
// counts as if it stood at the start of the pattern. `prefix` is where that rest begins.
bool Glob::compile_star(std::string_view pattern, std::size_t& at, std::size_t prefix, bool base_name) {
  const std::size_t begin = at;
  while (at < pattern.size() && pattern[at] == '*') ++at;
  if (at - begin == 1 || base_name) {
    tokens_.push_back({.kind = Kind::star});
    return true;
  }
  const bool opens = begin == prefix || pattern[begin - 1] == '/';
  const std::string_view rest = pattern.substr(at);
  if (!opens || !(rest.empty() || rest.front() == '/' || rest.starts_with("\\/"))) {
    tokens_.push_back({.kind = Kind::star});
  } else if (rest.starts_with('/')) {
    tokens_.push_back({.kind = Kind::enter_directories});
    tokens_.push_back({.kind = Kind::in_directories});
    ++at;
  } else {
    tokens_.push_back({.kind = Kind::star_star});
  }
  return true;
}

// `at` stands on the upper bound; false for a dangling escape.
bool Glob::compile_range(std::string_view pattern, std::size_t& at, std::bitset<256>& set, unsigned char previous) {
  if (pattern[at] == '\\') ++at;
  if (at >= pattern.size()) return false;
  const auto upper = static_cast<unsigned char>(pattern[at]);
  for (unsigned c = previous; c <= upper; ++c) set.set(c);
  return true;
}

// `at` stands on the "[" of "[:name:]" and is left on its last bracket; false for an unknown class. Without ":]" it is
// an ordinary bracket.
bool Glob::compile_class(std::string_view pattern, std::size_t& at, std::bitset<256>& set, unsigned char& previous) {
  const std::size_t end = pattern.find(']', at + 2);
  if (end == std::string_view::npos) return false;
  if (end < at + 3 || pattern[end - 1] != ':') {
    previous = '[';
    set.set(previous);
    return true;
  }
  const std::string_view name = pattern.substr(at + 2, end - at - 3);
  previous = 0;
  at = end;
  return add_class(name, set);
}

// One member of a set, `at` is left on its last byte.
bool Glob::compile_member(std::string_view pattern, std::size_t& at, std::bitset<256>& set, unsigned char& previous) {
  const char next = at + 1 < pattern.size() ? pattern[at + 1] : '\0';
  const bool last = at + 1 >= pattern.size();
  if (pattern[at] == '-' && previous != 0 && !last && next != ']') {
    const unsigned char from = std::exchange(previous, 0);
    return compile_range(pattern, ++at, set, from);
  }
  if (pattern[at] == '[' && next == ':') return compile_class(pattern, at, set, previous);
  if (pattern[at] == '\\') ++at;
  if (at >= pattern.size()) return false;
  previous = static_cast<unsigned char>(pattern[at]);
  set.set(previous);
  return true;
}

// `at` stands behind the opening bracket and is left behind the closing one; false when there is none or a class is
// unknown.
bool Glob::compile_set(std::string_view pattern, std::size_t& at) {
  std::bitset<256> set;
  const bool negated = at < pattern.size() && (pattern[at] == '!' || pattern[at] == '^');
  if (negated) ++at;
  unsigned char previous = 0;
  for (bool first = true;; first = false, ++at) {
    if (at >= pattern.size()) return false;
    if (pattern[at] == ']' && !first) break;
    if (!compile_member(pattern, at, set, previous)) return false;
  }
  ++at;
  if (negated) set.flip();
  set.reset('/');
  tokens_.push_back({.kind = Kind::set, .set = static_cast<std::uint16_t>(sets_.size())});
  sets_.push_back(set);
  return sets_.size() < UINT16_MAX;
}

Glob Glob::compile(std::string_view pattern, bool base_name) {
  Glob glob;
  std::size_t prefix = 0;
  while (prefix < pattern.size() && !is_special(pattern[prefix])) ++prefix;
  for (std::size_t at = 0; at < pattern.size() && !glob.never_;) {
    const char c = pattern[at];
    if (c == '*') {
      glob.never_ = !glob.compile_star(pattern, at, prefix, base_name);
    } else if (c == '?') {
      glob.tokens_.push_back({.kind = Kind::any});
      ++at;
    } else if (c == '[') {
      glob.never_ = !glob.compile_set(pattern, ++at);
    } else {
      if (c == '\\' && ++at >= pattern.size()) {
        glob.never_ = true;
        break;
      }
      glob.tokens_.push_back({.kind = Kind::literal, .literal = pattern[at]});
      ++at;
    }
  }
  const auto single = [](const Token& token) { return token.kind <= Kind::set; };
  while (glob.head_ < glob.tokens_.size() && single(glob.tokens_[glob.head_])) ++glob.head_;
  while (glob.head_ + glob.tail_ < glob.tokens_.size() && single(glob.tokens_[glob.tokens_.size() - 1 - glob.tail_]))
    ++glob.tail_;
  return glob;
}

bool Glob::one(const Token& token, char c) const {
  switch (token.kind) {
    case Kind::literal:
      return token.literal == c;
    case Kind::any:
      return c != '/';
    case Kind::set:
      return sets_[token.set].test(static_cast<unsigned char>(c));
    default:
      return false;
  }
}

bool Glob::matches(std::string_view text) const {
  const std::size_t count = tokens_.size();
  if (never_ || text.size() < head_ + tail_) return false;
  if (head_ == count && text.size() != count) return false;
  for (std::size_t i = 0; i < head_; ++i) {
    if (!one(tokens_[i], text[i])) return false;
  }
  for (std::size_t i = 1; i <= tail_; ++i) {
    if (!one(tokens_[count - i], text[text.size() - i])) return false;
  }
  if (head_ == count) return true;
  const std::string_view middle = text.substr(head_, text.size() - head_ - tail_);
  if (count - head_ - tail_ == 1)
    return tokens_[head_].kind == Kind::star_star || middle.find('/') == std::string_view::npos;
  return simulate(middle, head_, count - tail_);
}

// All states at once: state i means "the next token is i".
bool Glob::simulate(std::string_view text, std::size_t first, std::size_t last) const {
  const std::size_t states = last - first + 1;
  std::vector<char> now(states + 1, 0);
  std::vector<char> next(states + 1, 0);
  const auto close = [&](std::vector<char>& set) {  // stars may match nothing; in order, so that one pass is enough
    for (std::size_t i = 0; i + 1 < states; ++i) {
      if (set[i] == 0) continue;
      const Kind kind = tokens_[first + i].kind;
      if (kind == Kind::star || kind == Kind::star_star) set[i + 1] = 1;
      if (kind == Kind::enter_directories) {
        set[i + 1] = 1;
        set[i + 2] = 1;
      }
    }
  };
  now[0] = 1;
  close(now);
  for (const char c : text) {
    next.assign(next.size(), 0);
    for (std::size_t i = 0; i + 1 < states; ++i) {
      if (now[i] == 0) continue;
      const Token& token = tokens_[first + i];
      if (one(token, c)) next[i + 1] = 1;
      if (token.kind == Kind::star_star || (token.kind == Kind::star && c != '/')) next[i] = 1;
      if (token.kind == Kind::in_directories) {
        next[i] = 1;
        if (c == '/') next[i + 1] = 1;
      }
    }
    close(next);
    std::swap(now, next);
  }
  return now[states - 1] != 0;
}

}  // namespace trainctl::snapshot
