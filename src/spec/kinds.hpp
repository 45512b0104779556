// SPDX-License-Identifier: Apache-2.0
// The kinds of files that people write, as data: which table decodes one, and what makes a run configuration of it.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"
#include "spec/schema.hpp"

namespace trainctl::spec {

/// Where lowering may look beside the file itself.
struct LowerPlaces {
  fs::path base;                       ///< relative paths of the file count from here
  std::vector<fs::path> presets = {};  ///< folders with presets of the project and the user, the first one wins
};

/// `written` (all sources merged, checked, canonical) becomes a run configuration whose origins lead to what was
/// written. Mistakes are added to `errors`; what is right is lowered all the same, so that later checks can go on.
using Lower = Layer (*)(Layer written, const LowerPlaces& places, LoadedRun& run, Errors& errors);

struct SpecKind {
  std::string_view type;                     ///< the word of "type"
  std::string_view phrase;                   ///< "an estimator"
  const Table& (*table)() = nullptr;         ///< null: this version does not know such files
  const Table& (*fragment)() = nullptr;      ///< what --set may name
  std::vector<std::string_view> marks = {};  ///< fields that say the kind of a file without "type"
  Lower lower = nullptr;                     ///< null: it is a run configuration already
  bool describes_run = true;                 ///< false: it is no file to submit
};

std::span<const SpecKind> spec_kinds();
/// The kind called `type`; null when there is none.
const SpecKind* find_kind(std::string_view type);
const SpecKind& run_kind();
/// What a document says it is, by "type" or by a field only one kind has; null when it says nothing.
const SpecKind* kind_of(const Json& document);

}  // namespace trainctl::spec
