// SPDX-License-Identifier: Apache-2.0
// JSON that a person wrote: // and /* */ comments and trailing commas are fine, everything doubtful is refused.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.hpp"

namespace trainctl::base {

/// A document and where everything in it stands.
struct LocatedJson {
  Json value;
  JsonPositions positions;
  /// The spelling of numbers with a fraction or exponent, by JSON pointer: 3.10 as a number is 3.1.
  std::map<std::string, std::string, std::less<>> number_texts;
};

/// Parses `text`. `file_name` is only used in positions (line and column from 1, columns in code points).
/// Refused, each with its position: duplicate keys, numbers out of range, NaN and Infinity, more than kMaxJsonDepth
/// levels, more than kMaxJsonBytes bytes, a byte order mark, invalid UTF-8, lone surrogates and NUL in texts. The first
/// mistake of grammar ends the parse; duplicate keys and numbers out of range before it are all reported.
ResultAll<LocatedJson> parse_located(std::string_view text, std::string file_name);

/// The same for a reader that goes on to look for more: the mistakes are added to `errors`, and only one of grammar
/// leaves the optional empty. Of duplicates the first value counts, a number out of range is null.
std::optional<LocatedJson> parse_located(std::string_view text, std::string file_name, Errors& errors);

}  // namespace trainctl::base
