// SPDX-License-Identifier: Apache-2.0
// Which options of sbatch a person may add. Here, because who reads files and who submits jobs refuse the same ones.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trainctl::base {

struct SbatchRefusal {
  std::string message;
  std::string hint;
};

/// Why the text cannot be an option for sbatch beside ours; empty when it can. Refused is what trainctl relies on
/// saying itself ("--output", "--array", …), also shortened ("--out=x", which getopt takes) or glued ("-a1-3").
std::optional<SbatchRefusal> refuse_sbatch_option(std::string_view option);

}  // namespace trainctl::base
