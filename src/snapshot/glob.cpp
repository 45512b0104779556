// SPDX-License-Identifier: Apache-2.0
#include "snapshot/glob.hpp"

#include <array>
#include <utility>

namespace trainctl::snapshot {
namespace {

bool in_class(std::string_view name, int c) {
  const bool lower = c >= 'a' && c <= 'z';
  const bool upper = c >= 'A' && c <= 'Z';
  const bool digit = c >= '0' && c <= '9';
  const bool print = c >= ' ' && c <= '~';
  if (name == "alnum") return lower || upper || digit;
  if (name == "alpha") return lower || upper;
  if (name == "blank") return c == ' ' || c == '\t';
  if (name == "cntrl") return c < ' ' || c == 127;
  if (name == "digit") return digit;
  if (name == "graph") return print && c != ' ';
  if (name == "lower") return lower;
  if (name == "print") return print;
  if (name == "punct") return print && c != ' ' && !lower && !upper && !digit;
  if (name == "space") return c == ' ' || (c >= '\t' && c <= '\r');
  if (name == "upper") return upper;
  if (name == "xdigit") return digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  return false;
}

bool is_class_name(std::string_view name) {
  constexpr std::array<std::string_view, 12> kNames = {"alnum", "alpha", "blank", "cntrl", "digit", "graph",
                                                       "lower", "print", "punct", "space", "upper", "xdigit"};
  for (const std::string_view known : kNames) {
    if (name == known) return true;
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
  if (pattern[at] == '\\' && ++at >= pattern.size()) return false;
  const auto upper = static_cast<unsigned char>(pattern[at]);
  for (unsigned c = previous; c <= upper; ++c) set.set(c);
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
    const char c = pattern[at];
    if (c == ']' && !first) break;
    if (c == '\\') {
      if (++at >= pattern.size()) return false;
      previous = static_cast<unsigned char>(pattern[at]);
      set.set(previous);
    } else if (c == '-' && previous != 0 && at + 1 < pattern.size() && pattern[at + 1] != ']') {
      if (!compile_range(pattern, ++at, set, previous)) return false;
      previous = 0;
    } else if (c == '[' && at + 1 < pattern.size() && pattern[at + 1] == ':') {
      const std::size_t end = pattern.find(']', at + 2);
      if (end == std::string_view::npos) return false;
      if (end < at + 3 || pattern[end - 1] != ':') {  // no ":]": an ordinary bracket
        previous = '[';
        set.set(previous);
        continue;
      }
      const std::string_view name = pattern.substr(at + 2, end - at - 3);
      if (!is_class_name(name)) return false;
      for (int b = 0; b < 128; ++b) {
        if (in_class(name, b)) set.set(static_cast<std::size_t>(b));
      }
      previous = 0;
      at = end;
    } else {
      previous = static_cast<unsigned char>(c);
      set.set(previous);
    }
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
