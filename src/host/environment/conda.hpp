// SPDX-License-Identifier: Apache-2.0
// conda environment files: translated to Python + packages where every dependency has a known counterpart on a Python
// package index; else they need conda, mamba or micromamba.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::host {

/// environment.yml as written. Only the subset of YAML that such files use is read; everything else is an error with
/// its position.
struct CondaFile {
  std::string name;
  std::vector<std::string> channels, dependencies, pip;
  std::map<std::string, std::string> variables;
};
Result<CondaFile> parse_conda_file(std::string_view text, const std::string& file_name);

struct CondaTranslation {
  std::string python;                     // version spec, empty when the file names none
  std::vector<std::string> packages;      // PEP 508, conda's first, then pip's
  std::string torch_backend;              // from cpuonly or pytorch-cuda
  std::vector<std::string> notes;         // "pytorch=2.3 is installed as torch==2.3.*"
  std::vector<std::string> untranslated;  // not empty: conda itself is needed
};
CondaTranslation translate_conda(const CondaFile& file);

/// The name on a Python package index of a conda package; empty when none is known.
std::string index_name(std::string_view conda_name);
/// Names of well-known packages on the index, for "did you mean".
std::vector<std::string_view> well_known_packages();
/// The package that provides a module people take for one: "sklearn" → "scikit-learn"; empty when unknown.
std::string package_of_module(std::string_view module);

}  // namespace trainctl::host
