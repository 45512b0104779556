// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "spec/layer.hpp"
#include "trainctl/error.hpp"

namespace trainctl::spec {

/// Collects what is wrong with a configuration; positions come from the origins of its values.
class Complaints {
 public:
  explicit Complaints(const Origins& origins) : origins_(origins) {}

  void add(const std::string& pointer, std::string field, std::string message, std::string hint = {});
  /// Refuses a text that looks like a secret; the text itself is not repeated.
  void no_secret(std::string_view text, const std::string& pointer, const std::string& field);
  /// Whether somebody wrote the value, as opposed to our default.
  [[nodiscard]] bool written(const std::string& pointer) const { return origins_.contains(pointer); }
  Errors take() { return std::move(errors_); }

 private:
  const Origins& origins_;
  Errors errors_;
};

/// A relative path that stays where it is: no "..", not absolute, not "~".
bool is_inside(std::string_view path);
/// [A-Za-z_][A-Za-z0-9_]*
bool is_variable(std::string_view name);

}  // namespace trainctl::spec
