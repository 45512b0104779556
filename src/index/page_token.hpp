// SPDX-License-Identifier: Apache-2.0
// The opaque text that says where the next page begins.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "index/query.hpp"
#include "index/sqlite.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {

/// The last row of a page: its sort values and its key.
struct PageToken {
  std::vector<Value> values;
  std::int64_t key = 0;
};

std::string encode_token(const PageToken& token, const RunQuery& query);
/// Errc::invalid when the text is no token, or one of another query.
Result<PageToken> decode_token(std::string_view text, const RunQuery& query);

}  // namespace trainctl::index
