// SPDX-License-Identifier: Apache-2.0
// From an estimator to the run configuration it stands for.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "spec/estimator_preset.hpp"
#include "spec/kinds.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"

namespace trainctl::spec {

/// What lowering needs to know beside what was written.
struct LowerInput {
  const FoundPreset* found = nullptr;  ///< null: the framework is not known; the rest is lowered all the same
  std::set<std::string, std::less<>> declared = {};  ///< packages that the requirements file names (package_name)
};

struct Lowered {
  Layer run;  ///< a run configuration in canonical spelling; its origins lead to what was written
  LoweredFrom record = {};
  std::vector<std::string> notes = {};
};

/// Pure: the same estimator gives the same run configuration. Mistakes are added to `errors`.
Lowered lower(const Layer& written, const LowerInput& input, Errors& errors);

/// Finds the preset and reads the names in the requirements file, then lowers.
Layer lower_estimator(Layer written, const LowerPlaces& places, LoadedRun& run, Errors& errors);

/// "scikit-learn" of "Scikit_Learn[extra] >=1.2; python_version>'3'": as indexes compare names. Empty for an option, a
/// URL, a path or a comment.
std::string package_name(std::string_view requirement);

}  // namespace trainctl::spec
