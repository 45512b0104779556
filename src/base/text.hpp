// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::base {

std::vector<std::string> split(std::string_view text, char separator);
std::string join(std::span<const std::string> parts, std::string_view separator);
std::string_view trim(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_upper(std::string_view text);

/// How many line ends there are.
std::uint64_t count_lines(std::string_view text);

/// "NAME=value", as in an environment.
std::string assignment(std::string_view name, std::string_view value);

/// True when the text is well-formed UTF-8 (no overlong forms, no surrogates).
bool is_utf8(std::string_view text);
/// Well-formed UTF-8: every malformed byte becomes U+FFFD.
std::string to_utf8(std::string_view bytes);

/// The nearest of `candidates` (edit distance with transpositions, at most a third of the length); for "did you mean".
std::optional<std::string> suggest(std::string_view word, std::span<const std::string_view> candidates);

/// "90s", "1.5h", "2h30m", "500ms", "7d", "1w"; a bare number is refused (unit missing). Errc::invalid says what is
/// accepted.
Result<std::chrono::milliseconds> parse_duration(std::string_view text);
/// "4GiB", "500MB", "1.5G" (= GiB), "1024" (bytes).
Result<std::uint64_t> parse_size(std::string_view text);

std::string format_duration(
    std::chrono::milliseconds duration);        ///< "0.4 s", "12.4 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"
std::string format_size(std::uint64_t bytes);   ///< "612 B", "14 KB", "1.2 MB": powers of 1000, as in `ls` output
std::string format_count(std::uint64_t count);  ///< "3,212"
/// Up to `digits` significant digits, no trailing zeros: 0.967, 1.2e-05, nan, inf.
std::string format_number(double value, int digits = 4);

/// RFC 4648, with padding.
std::string base64(std::string_view bytes);

/// A POSIX shell word, quoted only when it needs to be.
std::string shell_quote(std::string_view word);

}  // namespace trainctl::base
