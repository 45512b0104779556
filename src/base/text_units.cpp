// SPDX-License-Identifier: Apache-2.0
// Durations, sizes and numbers: what people write and what we show.
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::base {

namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array<Unit, 7> kDurationUnits = {
    {{"ms", 1.0}, {"s", 1e3}, {"m", 60e3}, {"min", 60e3}, {"h", 3600e3}, {"d", 86400e3}, {"w", 604800e3}}};

// A lone K, M, G is binary, as in memory sizes people write; KB, MB, GB are powers of 1000 (IEC 80000-13).
constexpr std::array<Unit, 17> kSizeUnits = {{{"", 1.0},
                                              {"b", 1.0},
                                              {"k", 1024.0},
                                              {"kb", 1e3},
                                              {"kib", 1024.0},
                                              {"m", 1048576.0},
                                              {"mb", 1e6},
                                              {"mib", 1048576.0},
                                              {"g", 1073741824.0},
                                              {"gb", 1e9},
                                              {"gib", 1073741824.0},
                                              {"t", 1099511627776.0},
                                              {"tb", 1e12},
                                              {"tib", 1099511627776.0},
                                              {"p", 1125899906842624.0},
                                              {"pb", 1e15},
                                              {"pib", 1125899906842624.0}}};

constexpr std::string_view kDurationHint = "write a number and a unit: 500ms, 90s, 30m, 1.5h, 2h30m, 7d or 1w";
constexpr std::string_view kSizeHint = "write bytes or a unit: 1024, 500MB, 4GiB or 1.5G (G is GiB)";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

template <std::size_t N>
const Unit* find_unit(const std::array<Unit, N>& units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return &unit;
  }
  return nullptr;
}

/// Takes "12" or "1.5" off the front of `text`; no sign, no exponent.
std::optional<double> take_number(std::string_view& text) {
  std::size_t length = 0;
  std::size_t points = 0;
  while (length < text.size() && (is_digit(text[length]) || text[length] == '.'))
    points += text[length++] == '.' ? 1 : 0;
  if (length == 0 || points > 1 || !is_digit(text[0]) || !is_digit(text[length - 1])) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + length, value, std::chars_format::fixed);
  if (error != std::errc() || end != text.data() + length) return std::nullopt;
  text.remove_prefix(length);
  return value;
}

std::string_view take_word(std::string_view& text) {
  std::size_t length = 0;
  while (length < text.size() && is_letter(text[length])) ++length;
  const std::string_view word = text.substr(0, length);
  text.remove_prefix(length);
  return word;
}

std::string in_quotes(std::string_view text) {
  return "\"" + to_utf8(text.substr(0, 60)) + "\"";
}

std::string two_parts(std::int64_t big, std::string_view big_unit, std::int64_t small, std::string_view small_unit) {
  std::string text = std::to_string(big) + " " + std::string(big_unit);
  if (small > 0) text += " " + std::to_string(small) + " " + std::string(small_unit);
  return text;
}

std::string one_decimal(std::int64_t tenths) {
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10);
}

}  // namespace

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  std::string_view rest = trim(text);
  if (rest.empty()) return fail(Errc::invalid, "a duration is empty", std::string(kDurationHint));
  double total = 0;
  double previous = std::numeric_limits<double>::infinity();
  while (!rest.empty()) {
    const auto number = take_number(rest);
    if (!number) return fail(Errc::invalid, in_quotes(text) + " is not a duration", std::string(kDurationHint));
    const std::string_view name = take_word(rest);
    if (name.empty()) {
      return fail(Errc::invalid, "the duration " + in_quotes(text) + " has no unit", std::string(kDurationHint));
    }
    const Unit* unit = find_unit(kDurationUnits, name);
    if (unit == nullptr) {
      return fail(Errc::invalid, in_quotes(name) + " is not a unit of time", std::string(kDurationHint));
    }
    if (unit->factor >= previous) {
      return fail(Errc::invalid, "the units of the duration " + in_quotes(text) + " do not go from large to small",
                  std::string(kDurationHint));
    }
    previous = unit->factor;
    total += *number * unit->factor;
  }
  constexpr double kLongest = 100.0 * 366 * 86400e3;
  if (!(total <= kLongest)) return fail(Errc::invalid, "the duration " + in_quotes(text) + " is over 100 years");
  return std::chrono::milliseconds(std::llround(total));
}

Result<std::uint64_t> parse_size(std::string_view text) {
  std::string_view rest = trim(text);
  std::uint64_t bytes = 0;  // exact: a double has 53 bits only
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), bytes);
  if (!rest.empty() && error == std::errc() && end == rest.data() + rest.size()) return bytes;
  const auto number = take_number(rest);
  if (!number) return fail(Errc::invalid, in_quotes(text) + " is not a size", std::string(kSizeHint));
  const std::string name = to_lower(trim(rest));
  const Unit* unit = find_unit(kSizeUnits, name);
  if (unit == nullptr) return fail(Errc::invalid, in_quotes(name) + " is not a unit of size", std::string(kSizeHint));
  const double total = *number * unit->factor;
  if (!(total < 18446744073709551616.0)) return fail(Errc::invalid, "the size " + in_quotes(text) + " is too large");
  if (unit->factor <= 1.0 && total != std::floor(total)) {
    return fail(Errc::invalid, "the size " + in_quotes(text) + " is not a whole number of bytes",
                std::string(kSizeHint));
  }
  return static_cast<std::uint64_t>(std::round(total));
}

std::string format_duration(std::chrono::milliseconds duration) {
  const std::int64_t ms = duration.count();
  if (ms < 0) return ms == std::numeric_limits<std::int64_t>::min() ? "?" : "-" + format_duration(-duration);
  if (ms > 0 && ms < 100) return std::to_string(ms) + " ms";
  const std::int64_t tenths = ms / 100 + (ms % 100 >= 50 ? 1 : 0);
  if (tenths < 600) return one_decimal(tenths) + " s";
  const std::int64_t seconds = ms / 1000 + (ms % 1000 >= 500 ? 1 : 0);
  if (seconds < 3600) return two_parts(seconds / 60, "min", seconds % 60, "s");
  if (seconds < 86400) return two_parts(seconds / 3600, "h", seconds % 3600 / 60, "min");
  return two_parts(seconds / 86400, "d", seconds % 86400 / 3600, "h");
}

std::string format_size(std::uint64_t bytes) {
  if (bytes < 1000) return std::to_string(bytes) + " B";
  constexpr std::array<std::string_view, 6> kNames = {"KB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  while (std::round(value) >= 1000 && unit + 1 < kNames.size()) {
    value /= 1000;
    ++unit;
  }
  // One decimal below 10, none above. Kilobytes are never worth a decimal.
  const std::int64_t tenths = std::llround(value * 10);
  const std::string number = unit > 0 && tenths < 100 ? one_decimal(tenths) : std::to_string(std::llround(value));
  return number + " " + std::string(kNames[unit]);
}

std::string format_count(std::uint64_t count) {
  std::string text = std::to_string(count);
  for (std::size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, 1, ',');
  }
  return text;
}

std::string format_number(double value, int digits) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  if (value == 0) return "0";
  std::array<char, 64> buffer{};
  const int precision = digits < 1 ? 1 : (digits > 17 ? 17 : digits);
  // chars_format::general with a precision is printf's %g without the locale: no trailing zeros.
  const auto done =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::general, precision);
  return {buffer.data(), done.ptr};
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t block = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      block = (block << 8U) | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      text += i + j <= bytes.size() ? kDigits[(block >> (18U - 6U * j)) & 63U] : '=';
    }
  }
  return text;
}

}  // namespace trainctl::base
