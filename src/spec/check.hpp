// SPDX-License-Identifier: Apache-2.0
// One document against its table: aliases become canonical words, shorthands become objects, every mistake is
// collected.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/json_locate.hpp"
#include "spec/layer.hpp"
#include "spec/schema.hpp"

namespace trainctl::spec {

inline constexpr std::size_t kMaxErrors = 100;     ///< more are counted, not listed
inline constexpr std::size_t kMaxEntries = 10000;  ///< of one object with free keys

struct CheckOptions {
  Origin::Kind kind = Origin::Kind::file;
  std::string label = {};   ///< of the origins
  std::string prefix = {};  ///< local paths get this folder in front of them ("" = none)
};

/// Checks `document` and returns it in canonical spelling. Mistakes are added to `errors` in the order of the text;
/// what was right is in the layer all the same, so that later checks can go on.
Layer check_document(const base::LocatedJson& document, const Table& table, const CheckOptions& options,
                     Errors& errors);

/// Checks one value of `type` that has no file, e.g. of a flag. `field` is its dotted name in errors.
Layer check_value(const Json& value, const Type& type, const std::string& field, const CheckOptions& options,
                  Errors& errors);

/// "text \"abc\"", "number 3.11", "true", "a list" …, for "expected …, found …".
std::string found_text(const Json& value, std::string_view number_text = {});

/// `path` with `prefix` in front when it is a local relative path; URLs, host:/path, ~, ${{…}} and absolute paths stay.
std::string rebase_path(const std::string& path, const std::string& prefix);

/// The rule for names of inputs, outputs and steps: [A-Za-z][A-Za-z0-9_]{0,62}.
bool is_name(std::string_view text);

}  // namespace trainctl::spec
