// SPDX-License-Identifier: Apache-2.0
#include "base/number.hpp"

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace trainctl::base {

std::optional<double> parse_number(std::string_view text) {
  // from_chars also reads "inf" and "nan(…)": only digits and a point may begin a number here. It refuses a plus.
  const bool plus = text.starts_with('+');
  const std::string_view digits = plus || text.starts_with('-') ? text.substr(1) : text;
  if (plus) text = digits;
  if (digits.empty() || !((digits.front() >= '0' && digits.front() <= '9') || digits.front() == '.'))
    return std::nullopt;
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [next, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || next != end) return std::nullopt;
  return value;
}

}  // namespace trainctl::base
