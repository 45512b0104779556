// SPDX-License-Identifier: Apache-2.0
// What a script printed is not trusted by the terminal it is shown on: titles, clipboard writes, device queries and
// cursor games are dropped, colours stay (see CVE-2021-25743 for what happens otherwise).
#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include "cli/output.hpp"

namespace trainctl::cli {
namespace {

constexpr std::size_t kLongestSequence = 4096;

enum class Verdict { keep, drop, incomplete };

struct Sequence {
  Verdict verdict;
  std::size_t length;
};

/// ESC [ … final: only SGR ("m") with digits and separators, and "K" (erase to the end of the line: progress bars use
/// it).
Sequence control_sequence(std::string_view text) {
  bool plain = true;
  for (std::size_t i = 2; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0x40 && byte <= 0x7e)
      return {plain && (byte == 'm' || byte == 'K') ? Verdict::keep : Verdict::drop, i + 1};
    if (byte < 0x20 || byte > 0x7e) return {Verdict::drop, i};
    if ((byte < '0' || byte > '9') && byte != ';' && byte != ':') plain = false;
    if (i > kLongestSequence) return {Verdict::drop, i};
  }
  return {Verdict::incomplete, text.size()};
}

/// OSC, DCS, APC, PM, SOS: dropped up to BEL or ESC backslash.
Sequence string_sequence(std::string_view text) {
  for (std::size_t i = 2; i < text.size(); ++i) {
    if (text[i] == '\a') return {Verdict::drop, i + 1};
    if (text[i] == '\x1b' && i + 1 < text.size()) return {Verdict::drop, text[i + 1] == '\\' ? i + 2 : i};
    if (i > kLongestSequence) return {Verdict::drop, i};
  }
  return {Verdict::incomplete, text.size()};
}

Sequence escape(std::string_view text) {
  if (text.size() < 2) return {Verdict::incomplete, text.size()};
  switch (text[1]) {
    case '[':
      return control_sequence(text);
    case ']':
    case 'P':
    case '_':
    case '^':
    case 'X':
      return string_sequence(text);
    default:
      return {Verdict::drop, 2};
  }
}

std::size_t utf8_length(unsigned char lead) {
  if (lead >= 0xf0 && lead <= 0xf4) return 4;
  if (lead >= 0xe0) return 3;
  if (lead >= 0xc2) return 2;
  return 1;
}

bool is_dangerous(std::string_view character) {
  if (character.size() == 2 && character[0] == '\xc2') return static_cast<unsigned char>(character[1]) < 0xa0;
  if (character.size() != 3 || character[0] != '\xe2') return false;
  const auto second = static_cast<unsigned char>(character[1]);
  const auto third = static_cast<unsigned char>(character[2]);
  return (second == 0x80 && third >= 0xaa && third <= 0xae) || (second == 0x81 && third >= 0xa6 && third <= 0xa9);
}

/// The length of the UTF-8 character at the start of `text`: 0 when it is malformed, npos when it is cut off.
std::size_t character_length(std::string_view text) {
  const std::size_t length = utf8_length(static_cast<unsigned char>(text[0]));
  if (length == 1) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if (i >= text.size()) return std::string_view::npos;
    if ((static_cast<unsigned char>(text[i]) & 0xc0U) != 0x80U) return 0;
  }
  return length;
}

}  // namespace

std::string TerminalFilter::filter(std::string_view bytes) {
  const std::string joined = pending_ + std::string(bytes);
  pending_.clear();
  std::string clean;
  clean.reserve(joined.size());
  std::string_view rest = joined;
  while (!rest.empty()) {
    const auto byte = static_cast<unsigned char>(rest[0]);
    if (byte == 0x1b) {
      const Sequence sequence = escape(rest);
      if (sequence.verdict == Verdict::incomplete) {
        pending_ = std::string(rest);
        return clean;
      }
      if (sequence.verdict == Verdict::keep) clean.append(rest.substr(0, sequence.length));
      rest.remove_prefix(sequence.length);
    } else if (byte < 0x80) {
      if ((byte >= 0x20 && byte != 0x7f) || byte == '\n' || byte == '\t' || byte == '\r') clean += rest[0];
      rest.remove_prefix(1);
    } else {
      const std::size_t length = character_length(rest);
      if (length == std::string_view::npos) {
        pending_ = std::string(rest);
        return clean;
      }
      if (length == 0) {
        clean += "\xef\xbf\xbd";
        rest.remove_prefix(1);
        continue;
      }
      if (!is_dangerous(rest.substr(0, length))) clean.append(rest.substr(0, length));
      rest.remove_prefix(length);
    }
  }
  return clean;
}

namespace {

/// CSI … final byte: its length.
std::size_t sequence_length(std::string_view text) {
  std::size_t at = 2;
  while (at < text.size() &&
         (static_cast<unsigned char>(text[at]) < 0x40 || static_cast<unsigned char>(text[at]) > 0x7e))
    ++at;
  return at + 1;
}

/// Cells of one character: CJK, Hangul, full-width forms and emoji take two, combining marks (U+0300..036F) none.
std::size_t cells(std::string_view character) {
  const auto within = [&](std::string_view first, std::string_view last) {
    return character.substr(0, first.size()) >= first && character.substr(0, last.size()) <= last;
  };
  if (character.size() == 4) return 2;
  if (character.size() == 3 && (within("\xe3", "\xed") || within("\xef\xbc", "\xef\xbd"))) return 2;
  return character.size() > 1 && within("\xcc\x80", "\xcd\xaf") ? 0 : 1;
}

}  // namespace

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    std::size_t length = 1;
    if (text.starts_with("\x1b[")) {
      length = sequence_length(text);
    } else {
      const auto byte = static_cast<unsigned char>(text.front());
      length = byte < 0x80 ? 1 : utf8_length(byte);
      width += cells(text.substr(0, length));
    }
    text.remove_prefix(std::min(length, text.size()));
  }
  return width;
}

std::string fit(std::string_view text, std::size_t width) {
  if (display_width(text) <= width) return std::string(text);
  if (width == 0) return {};
  std::string cut;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t length = byte < 0x80 ? 1 : utf8_length(byte);
    const std::string next = cut + std::string(text.substr(i, length));
    if (display_width(next) > width - 1) break;
    cut = next;
    i += length;
  }
  return cut + "…";
}

}  // namespace trainctl::cli
