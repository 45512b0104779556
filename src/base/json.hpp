// SPDX-License-Identifier: Apache-2.0
// JSON with the position of every value. Objects keep their order.
#pragma once

#include <cstddef>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "trainctl/result.hpp"

namespace trainctl {
using Json = nlohmann::ordered_json;
}

namespace trainctl::base {

inline constexpr std::size_t kMaxJsonDepth = 64;
inline constexpr std::size_t kMaxJsonBytes = 32U << 20U;

/// Where each key and value of a document stands, by JSON pointer ("" is the root).
struct JsonPositions {
  std::map<std::string, SourcePosition, std::less<>> keys;
  std::map<std::string, SourcePosition, std::less<>> values;
};

/// Data we wrote ourselves or got from a machine: strict JSON, depth <= 64, size <= 32 MiB, last duplicate wins.
Result<Json> parse_json(std::string_view text);

/// One line, no spaces; invalid UTF-8 becomes U+FFFD. Never throws.
std::string dump_json(const Json& value);
/// Indented by two, with a final newline.
std::string pretty_json(const Json& value);

/// Appends one reference token to a JSON pointer ("~" and "/" escaped).
std::string pointer_append(std::string_view pointer, std::string_view token);

/// "field[3]": an element of a list as people are told of it.
std::string element_of(std::string_view field, std::size_t index);

}  // namespace trainctl::base
