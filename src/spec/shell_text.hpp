// SPDX-License-Identifier: Apache-2.0
// References in a command text: never put in as text, always as a quoted variable, so that no value is read as shell.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "spec/references.hpp"

namespace trainctl::spec {

struct ShellText {
  std::string text;
  std::vector<Reference> references;  ///< their variables (variable_of) have to be set
};

/// `${{inputs.x}}` becomes "${TRAINCTL_INPUT_X}", within double quotes ${TRAINCTL_INPUT_X}. In single quotes, a
/// heredoc, backticks, arithmetic, after a backslash, or in $(…) within double quotes it is an error with its position.
ResultAll<ShellText> expand_shell(std::string_view command, const TextPlace& place);

}  // namespace trainctl::spec
