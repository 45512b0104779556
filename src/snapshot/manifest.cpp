// SPDX-License-Identifier: Apache-2.0
#include "snapshot/manifest.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/hash.hpp"
#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";

constexpr std::uint8_t kNoDigit = 16;

/// The value of each byte as a lower-case hex digit. A manifest has more than a million of them for 20,000 files.
constexpr std::array<std::uint8_t, 256> kDigitValues = [] {
  std::array<std::uint8_t, 256> values{};
  for (std::uint8_t& value : values) value = kNoDigit;
  std::uint8_t value_of_digit = 0;
  for (const char digit : kHex) values[static_cast<unsigned char>(digit)] = value_of_digit++;
  return values;
}();

std::uint8_t digit_value(char c) {
  return kDigitValues[static_cast<unsigned char>(c)];
}

/// Nothing in it has to be escaped, whatever stands beside it.
bool is_plain(std::string_view text) {
  bool plain = true;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    plain = plain & (byte >= 0x20) & (byte < 0x7f) & (c != '\\');
  }
  return plain;
}

void append_escaped(std::string& out, std::string_view text) {
  if (is_plain(text)) {
    out += text;
    return;
  }
  const bool escape_high = !base::is_utf8(text);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || c == '\\' || (byte >= 0x80 && escape_high)) {
      out += "\\x";
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    } else {
      out += c;
    }
  }
}

std::optional<std::string> unescape(std::string_view text) {
  if (is_plain(text)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    if (i + 3 >= text.size() || text[i + 1] != 'x') return std::nullopt;
    const std::uint8_t high = digit_value(text[i + 2]);
    const std::uint8_t low = digit_value(text[i + 3]);
    if (high == kNoDigit || low == kNoDigit) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 3;
  }
  std::string again;
  append_escaped(again, out);
  if (again != text) return std::nullopt;
  return out;
}

void append_number(std::string& out, std::uint64_t value, int base) {
  std::array<char, 24> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value, base);
  out.append(digits.data(), end.ptr);
}

/// "f <mode> <size> <sha256> ", in one piece: a large tree has many.
void append_file(std::string& out, const ManifestEntry& entry) {
  std::array<char, 128> line{'f', ' '};
  char* const end = line.data() + line.size();
  char* at = std::to_chars(line.data() + 2, end, entry.mode, 8).ptr;
  *at++ = ' ';
  at = std::to_chars(at, end, entry.size).ptr;
  *at++ = ' ';
  for (const std::uint8_t byte : entry.hash) {
    *at++ = kHex[byte >> 4U];
    *at++ = kHex[byte & 15U];
  }
  *at++ = ' ';
  out.append(line.data(), at);
}

/// The text up to the next space, which is taken away too.
std::string_view take_word(std::string_view& row) {
  const std::size_t space = row.find(' ');
  const std::string_view word = row.substr(0, space);
  row.remove_prefix(space == std::string_view::npos ? row.size() : space + 1);
  return word;
}

bool parse_number(std::string_view word, std::uint64_t& value, int base) {
  const auto end = std::from_chars(word.data(), word.data() + word.size(), value, base);
  return !word.empty() && end.ec == std::errc() && end.ptr == word.data() + word.size() &&
         (word.size() == 1 || word.front() != '0');
}

bool parse_mode(std::string_view word, std::uint32_t& mode) {
  std::uint64_t value = 0;
  if (!parse_number(word, value, 8) || value > 0777) return false;
  mode = static_cast<std::uint32_t>(value);
  return true;
}

bool parse_file(std::string_view& row, ManifestEntry& entry) {
  return parse_mode(take_word(row), entry.mode) && parse_number(take_word(row), entry.size, 10) &&
         parse_hash(take_word(row), entry.hash);
}

bool parse_link(std::string_view& row, ManifestEntry& entry) {
  entry.type = EntryType::link;
  const std::size_t tab = row.find('\t');
  if (tab == std::string_view::npos) return false;
  auto target = unescape(row.substr(tab + 1));
  if (!target || target->empty() || target->size() > 4095 || target->find('\0') != std::string::npos) return false;
  entry.target = std::move(*target);
  row = row.substr(0, tab);
  return true;
}

bool parse_directory(std::string_view& row, ManifestEntry& entry) {
  entry.type = EntryType::directory;
  if (!parse_mode(take_word(row), entry.mode) || !row.ends_with('/')) return false;
  row.remove_suffix(1);
  return true;
}

}  // namespace

std::size_t HashOf::operator()(const Hash& hash) const {
  std::size_t value = 0;
  std::memcpy(&value, hash.data(), sizeof value);
  return value;
}

Hash hash_bytes(std::string_view data) {
  base::Sha256 sha;
  sha.update(data);
  return sha.finish();
}

std::string to_hex(const Hash& hash) {
  std::string text;
  text.reserve(64);
  for (const std::uint8_t byte : hash) {
    text += kHex[byte >> 4U];
    text += kHex[byte & 15U];
  }
  return text;
}

bool parse_hash(std::string_view text, Hash& hash) {
  if (text.size() != 64) return false;
  std::uint32_t all = 0;
  for (std::size_t i = 0; i < 32; ++i) {
    const std::uint8_t high = digit_value(text[2 * i]);
    const std::uint8_t low = digit_value(text[2 * i + 1]);
    all |= std::uint32_t{high} | low;
    hash[i] = static_cast<std::uint8_t>(high * 16U + low);
  }
  return all < kNoDigit;
}

bool comes_before(const ManifestEntry& a, const ManifestEntry& b) {
  const std::size_t common = std::min(a.path.size(), b.path.size());
  const int order = std::memcmp(a.path.data(), b.path.data(), common);
  if (order != 0) return order < 0;
  const auto byte_at_end = [common](const ManifestEntry& entry) {  // 0 = the path ends here
    if (entry.path.size() > common) return static_cast<unsigned>(static_cast<unsigned char>(entry.path[common]));
    return entry.type == EntryType::directory ? static_cast<unsigned>('/') : 0U;
  };
  return byte_at_end(a) < byte_at_end(b);
}

bool is_safe_path(std::string_view path) {
  if (path.empty() || path.size() > 4095 || path.find('\0') != std::string_view::npos) return false;
  for (std::size_t begin = 0; begin <= path.size();) {
    std::size_t end = path.find('/', begin);
    if (end == std::string_view::npos) end = path.size();
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
    begin = end + 1;
  }
  return true;
}

void append_line(std::string& text, const ManifestEntry& entry) {
  switch (entry.type) {
    case EntryType::file:
      append_file(text, entry);
      append_escaped(text, entry.path);
      break;
    case EntryType::link:
      text += "l ";
      append_escaped(text, entry.path);
      text += '\t';
      append_escaped(text, entry.target);
      break;
    case EntryType::directory:
      text += "d ";
      append_number(text, entry.mode, 8);
      text += ' ';
      append_escaped(text, entry.path);
      text += '/';
      break;
  }
  text += '\n';
}

std::string manifest_text(const std::vector<ManifestEntry>& entries) {
  std::string text;
  text.reserve(kManifestHeader.size() + entries.size() * 128);
  text += kManifestHeader;
  for (const ManifestEntry& entry : entries) append_line(text, entry);
  return text;
}

std::optional<ManifestEntry> parse_line(std::string_view row) {
  ManifestEntry entry;
  const std::string_view type = take_word(row);
  const bool good = type == "f"   ? parse_file(row, entry)
                    : type == "l" ? parse_link(row, entry)
                    : type == "d" ? parse_directory(row, entry)
                                  : false;
  if (!good) return std::nullopt;
  auto path = unescape(row);
  if (!path || !is_safe_path(*path)) return std::nullopt;
  entry.path = std::move(*path);
  return entry;
}

Result<std::vector<ManifestEntry>> parse_manifest(std::string_view text) {
  if (!text.starts_with(kManifestHeader)) {
    return fail(Errc::store, "not a snapshot manifest of format 1",
                "a newer trainctl may have written it: upgrade, or take the snapshot again");
  }
  text.remove_prefix(kManifestHeader.size());
  std::vector<ManifestEntry> entries;
  for (std::size_t line = 2; !text.empty(); ++line) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return fail(Errc::store, "snapshot manifest: the last line is cut off");
    auto entry = parse_line(text.substr(0, end));
    text.remove_prefix(end + 1);
    if (!entry) return fail(Errc::store, "snapshot manifest: line " + std::to_string(line) + " is damaged or unsafe");
    if (!entries.empty() && !comes_before(entries.back(), *entry)) {
      return fail(Errc::store, "snapshot manifest: line " + std::to_string(line) + " is out of order");
    }
    entries.push_back(std::move(*entry));
  }
  return entries;
}

}  // namespace trainctl::snapshot
