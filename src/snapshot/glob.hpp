// SPDX-License-Identifier: Apache-2.0
// One compiled wildcard pattern of an ignore file. Matching is linear in pattern x text for any pattern: it never
// backtracks.
#pragma once

#include <bitset>
#include <cstdint>
#include <string_view>
#include <vector>

namespace trainctl::snapshot {

/// `*` and `?` do not cross a slash; `**` between slashes (or at an end) does; `[a-z]`, `[!x]`, `[[:alpha:]]`; `\x` is
/// x. Works on bytes, as git does. A malformed pattern (open bracket, trailing backslash, unknown class) matches
/// nothing.
class Glob {
 public:
  Glob() = default;
  /// `base_name`: the pattern is matched against a name without slashes, where `**` is the same as `*`.
  static Glob compile(std::string_view pattern, bool base_name);

  [[nodiscard]] bool matches(std::string_view text) const;

 private:
  enum class Kind : std::uint8_t { literal, any, set, star, star_star, enter_directories, in_directories };
  struct Token {
    Kind kind = Kind::literal;
    char literal = 0;
    std::uint16_t set = 0;  // position in sets_
  };

  bool compile_star(std::string_view pattern, std::size_t& at, std::size_t prefix, bool base_name);
  bool compile_set(std::string_view pattern, std::size_t& at);
  bool compile_member(std::string_view pattern, std::size_t& at, std::bitset<256>& set, unsigned char& previous);
  bool compile_class(std::string_view pattern, std::size_t& at, std::bitset<256>& set, unsigned char& previous);
  bool compile_range(std::string_view pattern, std::size_t& at, std::bitset<256>& set, unsigned char previous);
  [[nodiscard]] bool one(const Token& token, char c) const;
  [[nodiscard]] bool simulate(std::string_view text, std::size_t first, std::size_t last) const;

  std::vector<Token> tokens_;
  std::vector<std::bitset<256>> sets_;
  std::size_t head_ = 0;  // tokens of one byte each at the beginning
  std::size_t tail_ = 0;  // and at the end, behind the last star
  bool never_ = false;
};

}  // namespace trainctl::snapshot
