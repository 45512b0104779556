// SPDX-License-Identifier: Apache-2.0
// The language of --where:
//   metrics.accuracy > 0.9 and (parameters.lr <= 0.1 or tags.team = "vision") and not state = failed and name ~ "dig*"
// Fields: a column, metrics.NAME[.last|.best|.min|.max|.step|.points], parameters.NAME, tags.NAME, or a bare NAME that
// is a column, else a metric, else a parameter. Names with odd characters are quoted: metrics."val acc". Operators: =
// (==) != < <= > >= ~ (glob) !~. Values: numbers, words, quoted text, null, and for times 7d (ago) or dates. `and`
// binds tighter than `or`, `not` tightest.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::index {

enum class Compare { equal, unequal, less, less_equal, greater, greater_equal, glob, not_glob };

/// One side of a comparison as written.
struct FieldText {
  std::vector<std::string> parts;                                ///< split at dots outside quotes, never empty
  std::size_t column = 1;                                        ///< where it begins, from 1, in code points
  [[nodiscard]] std::string joined(std::size_t from = 0) const;  ///< parts from `from` with dots
};

struct ValueText {
  std::string text;
  bool quoted = false;
  std::size_t column = 1;
};

struct Where {
  enum class Kind { all, any, negation, comparison };
  Kind kind = Kind::comparison;
  std::vector<Where> children;  ///< of all, any and negation (one)
  FieldText field;              ///< of a comparison, with the members below
  Compare compare = Compare::equal;
  ValueText value;
};

/// Errc::invalid with the position (`file` is "--where") and what was expected.
Result<Where> parse_where(std::string_view text);

/// A field as --sort and --columns take it: "accuracy", "metrics.loss.best", "parameters.lr".
Result<FieldText> parse_field(std::string_view text, std::string_view option);

std::string_view to_string(Compare compare);

/// The error for what stands at `column` of an expression given with `option`.
tl::unexpected<Error> where_error(std::string message, std::size_t column, std::string hint = {},
                                  std::string_view option = "--where");

}  // namespace trainctl::index
