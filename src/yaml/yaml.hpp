// SPDX-License-Identifier: Apache-2.0
// YAML that other tools wrote, as JSON with the position of every value. The only place that knows yaml-cpp; never in
// the runner.
#pragma once

#include <string>
#include <string_view>

#include "base/json_locate.hpp"

namespace trainctl::yaml {

/// Parses the first document of `text` (YAML 1.2 core schema for plain values; JSON is YAML). `file_name` is only used
/// in positions. Refused with a position: broken grammar, more than one document, duplicate keys, keys that are no
/// texts or numbers, more than base::kMaxJsonDepth levels, more than 100,000 values after following aliases, more than
/// 4 MiB, invalid UTF-8.
Result<base::LocatedJson> parse(std::string_view text, const std::string& file_name);

}  // namespace trainctl::yaml
