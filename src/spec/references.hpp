// SPDX-License-Identifier: Apache-2.0
// ${{inputs.x}} and its kin in texts of a spec.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::spec {

struct Reference {
  enum class Kind { input, output, parameter, env, submit_env };
  Kind kind = Kind::input;
  std::string name;
  std::size_t at = 0;  ///< byte offset in its text
};

/// A stretch of a text: as it stands ("$${{" already unescaped), or a reference.
struct Piece {
  std::string text;  ///< for a reference what was written: "${{ inputs.x }}"
  std::optional<Reference> reference;
  std::size_t at = 0;
};

/// Where a text stands, so that errors can point into it.
struct TextPlace {
  std::optional<SourcePosition> at = {};  ///< of the opening quote
  std::string field = {};
};

ResultAll<std::vector<Piece>> split_references(std::string_view text, const TextPlace& place);

using ValueMap = std::map<std::string, std::string, std::less<>>;

/// What the names stand for. All of them are known before the start; `submit_env` is what the submitter's environment
/// has.
struct Values {
  ValueMap inputs;
  ValueMap outputs;
  ValueMap parameters;
  ValueMap env;
  ValueMap submit_env;
};

/// The value, or an error that names what there is.
Result<std::string> lookup(const Reference& reference, const Values& values);

/// Every reference replaced by its value: for an element of argv or a variable, where no shell reads it again.
ResultAll<std::string> expand_text(std::string_view text, const Values& values, const TextPlace& place);

/// The variable a script sees: ("TRAINCTL_INPUT_", "train-set") → TRAINCTL_INPUT_TRAIN_SET.
std::string variable_name(std::string_view prefix, std::string_view name);
/// TRAINCTL_INPUT_X, TRAINCTL_OUTPUT_X, TRAINCTL_PARAM_X, X or TRAINCTL_SUBMIT_X.
std::string variable_of(const Reference& reference);

/// A name such as HF_TOKEN, API_KEY, DB_PASSWORD: its value is never recorded.
bool is_secret_name(std::string_view name);

/// The position of byte `offset` of a text that begins at `place`.
std::optional<SourcePosition> position_in(const TextPlace& place, std::string_view text, std::size_t offset);

}  // namespace trainctl::spec
