// SPDX-License-Identifier: Apache-2.0
// Python versions and the ways people ask for one.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::host {

/// A release number such as 3.11.7; suffixes ("rc1", "+") are ignored.
struct PythonVersion {
  std::vector<int> parts;
  static std::optional<PythonVersion> parse(std::string_view text);
  [[nodiscard]] std::string text() const;
  /// Missing parts count as 0.
  friend std::strong_ordering operator<=>(const PythonVersion& a, const PythonVersion& b);
  friend bool operator==(const PythonVersion& a, const PythonVersion& b) { return (a <=> b) == 0; }
};

/// "3.11" (any 3.11.x), "3.11.7", "=3.11", "==3.11.*", ">=3.10,<3.13", "~=3.10"; empty accepts every Python 3.
class PythonVersionSpec {
 public:
  static Result<PythonVersionSpec> parse(std::string_view text);
  [[nodiscard]] bool matches(const PythonVersion& version) const;
  [[nodiscard]] bool any() const { return terms_.empty(); }
  /// The same as `matches` in Python, of `v = sys.version_info`: "v[:2] >= (3, 10) and v[:2] < (3, 13)"; "True" for
  /// any.
  [[nodiscard]] std::string expression() const;

 private:
  struct Term {
    std::string op;  // = (prefix), !=, <, <=, >, >=
    PythonVersion version;
  };
  std::vector<Term> terms_;
};

}  // namespace trainctl::host
