// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "spec/schema.hpp"

namespace trainctl::spec {

/// What is said of a field that a table does not have.
struct UnknownField {
  std::string message;
  std::string hint;                      ///< what there is instead; empty when `near` says it
  std::optional<std::string> near = {};  ///< what was probably meant: a field, an alias, or "block.field" below
};
UnknownField explain_unknown(const Table& table, const std::string& key);

}  // namespace trainctl::spec
