// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

namespace trainctl::base {

/// "0.10", "-3", "1e-4", "+.5": a finite decimal number that is the whole text; "nan", "0x10" and "1 s" are none.
std::optional<double> parse_number(std::string_view text);

}  // namespace trainctl::base
