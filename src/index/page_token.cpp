// SPDX-License-Identifier: Apache-2.0
#include "index/page_token.hpp"

#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/hash.hpp"
#include "base/hex.hpp"
#include "base/json.hpp"
#include "format/state.hpp"
#include "index/query.hpp"
#include "index/sqlite.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {
namespace {

/// What must be the same for a token to make sense; the page size may differ.
std::string fingerprint(const RunQuery& query) {
  Json json = {query.where, query.sort, Json::array(), query.since.has_value()};
  for (const format::State state : query.states) json[2].push_back(std::string(format::to_string(state)));
  return base::sha256_hex(base::dump_json(json)).substr(0, 8);
}

Json to_json(const Value& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return {"i", *number};
  // The bits, so that infinities and every digit survive.
  if (const auto* real = std::get_if<double>(&value)) return {"d", std::bit_cast<std::uint64_t>(*real)};
  if (const auto* text = std::get_if<std::string>(&value)) return {"t", *text};
  return nullptr;
}

std::optional<Value> from_json(const Json& json) {
  if (json.is_null()) return Value{};
  if (!json.is_array() || json.size() != 2 || !json[0].is_string()) return std::nullopt;
  const std::string kind = json[0].get<std::string>();
  if (kind == "i" && json[1].is_number_integer()) return Value(json[1].get<std::int64_t>());
  if (kind == "d" && json[1].is_number_unsigned()) return Value(std::bit_cast<double>(json[1].get<std::uint64_t>()));
  if (kind == "t" && json[1].is_string()) return Value(json[1].get<std::string>());
  return std::nullopt;
}

}  // namespace

std::string encode_token(const PageToken& token, const RunQuery& query) {
  Json json = {fingerprint(query), token.key, Json::array()};
  for (const Value& value : token.values) json[2].push_back(to_json(value));
  return base::to_hex(base::dump_json(json));
}

Result<PageToken> decode_token(std::string_view text, const RunQuery& query) {
  const auto bytes = base::from_hex(text);
  const auto json = bytes ? base::parse_json(*bytes) : Result<Json>(fail(Errc::invalid, ""));
  PageToken token;
  bool good = json && json->is_array() && json->size() == 3 && (*json)[1].is_number_integer() && (*json)[2].is_array();
  if (good && (*json)[0] != fingerprint(query)) {
    return fail(Errc::invalid, "this `next` belongs to another query",
                "repeat --where, --state, --since and --sort as they were");
  }
  if (good) {
    token.key = (*json)[1].get<std::int64_t>();
    for (const Json& item : (*json)[2]) {
      auto value = from_json(item);
      good = good && value.has_value();
      if (value) token.values.push_back(std::move(*value));
    }
  }
  if (!good)
    return fail(Errc::invalid, "this is no `next` of a page", "take it from the field next of `trainctl ls --json`");
  return token;
}

}  // namespace trainctl::index
