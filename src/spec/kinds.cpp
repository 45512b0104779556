// SPDX-License-Identifier: Apache-2.0
#include "spec/kinds.hpp"

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/text.hpp"
#include "spec/estimator.hpp"
#include "spec/lower.hpp"
#include "spec/run_tables.hpp"
#include "spec/target.hpp"

namespace trainctl::spec {

std::span<const SpecKind> spec_kinds() {
  static const std::array<SpecKind, 5> kinds = {
      SpecKind{.type = "run", .phrase = "a run configuration", .table = &run_table, .fragment = &fragment_table},
      SpecKind{.type = "estimator",
               .phrase = "an estimator",
               .table = &estimator_table,
               .fragment = &estimator_fragment_table,
               .marks = {"framework", "estimator"},
               .lower = &lower_estimator},
      SpecKind{.type = "pipeline", .phrase = "a pipeline", .describes_run = false},
      SpecKind{.type = "sweep", .phrase = "a sweep", .describes_run = false},
      SpecKind{.type = "target",
               .phrase = "a target",
               .table = &target_table,
               .marks = {"host", "hosts"},
               .describes_run = false},
  };
  return kinds;
}

const SpecKind* find_kind(std::string_view type) {
  for (const SpecKind& kind : spec_kinds()) {
    if (kind.type == type) return &kind;
  }
  return nullptr;
}

namespace {
/// A slip of the pen is read as the kind it was meant to be; its table says what is wrong with the word.
const SpecKind* near_kind(const std::string& type) {
  if (const SpecKind* exact = find_kind(type)) return exact;
  std::vector<std::string_view> types;
  for (const SpecKind& kind : spec_kinds()) types.push_back(kind.type);
  const auto near = base::suggest(type, types);
  const SpecKind* kind = near ? find_kind(*near) : nullptr;
  return kind != nullptr && kind->table != nullptr ? kind : nullptr;
}
}  // namespace

const SpecKind& run_kind() {
  return spec_kinds().front();
}

const SpecKind* kind_of(const Json& document) {
  if (!document.is_object()) return nullptr;
  const auto type = document.find("type");
  if (type != document.end() && type->is_string()) {
    if (const SpecKind* named = near_kind(*type->get_ptr<const std::string*>())) return named;
  }
  for (const SpecKind& kind : spec_kinds()) {
    for (const std::string_view mark : kind.marks) {
      if (document.contains(mark)) return &kind;
    }
  }
  return nullptr;
}

}  // namespace trainctl::spec
