// SPDX-License-Identifier: Apache-2.0
// From the configuration to the words and variables the script is started with. Pure: values in, values out.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "spec/layer.hpp"
#include "spec/references.hpp"
#include "spec/run_configuration.hpp"

namespace trainctl::spec {

std::string to_string(const Scalar& value);          ///< 0.1, true, text as it is; null is ""
std::string to_string(const ParameterValue& value);  ///< a list: its items with spaces between

/// true → --k; false and null → nothing; a list → --k a b ("--k=v": --k=a --k=b, "k=v": k=[a,b]). "env", "none":
/// nothing.
std::vector<std::string> parameter_arguments(const std::vector<Parameter>& parameters, ParameterStyle style);

/// TRAINCTL_PARAM_<NAME> of every parameter.
TextMap parameter_variables(const std::vector<Parameter>& parameters);

struct ExpandedRun {
  /// script and module: what follows them. A command of arguments: all of it. Empty for a command text.
  std::vector<std::string> words;
  std::string shell_text;  ///< a command text, references as variables
  /// environment_variables and TRAINCTL_PARAM_*, TRAINCTL_SUBMIT_*; not TRAINCTL_INPUT_* and TRAINCTL_OUTPUT_*.
  TextMap variables;
  ValueMap recorded;  ///< what was taken from submit.env, for the plan
};

/// `values.inputs` and `.outputs` are paths as the run sees them, `.submit_env` the submitter's environment; parameters
/// and env are taken from the configuration. Positions of errors come from `origins`.
ResultAll<ExpandedRun> expand_run(const RunConfiguration& config, const Values& values, const Origins& origins = {});

/// The same checks without values: every reference is one that will have a value. `complete` false checks only their
/// form.
Errors check_references(const RunConfiguration& config, const Origins& origins, bool complete = true);

}  // namespace trainctl::spec
