// SPDX-License-Identifier: Apache-2.0
// What the tables of several kinds of files have in common: an estimator says everything a run configuration says.
#pragma once

#include <string_view>
#include <vector>

#include "spec/schema.hpp"

namespace trainctl::spec {

std::vector<Field> program_fields();       ///< what runs: name, script, parameters, target …
std::vector<Field> surroundings_fields();  ///< environment, data, resources, limits …
std::vector<Alias> run_aliases();

Field schema_field();
Field type_field(std::string_view word);
Field extends_field(std::string_view doc);
/// "profiles" and "on", whose parts are described by `fragment`.
void append_composition(std::vector<Field>& to, const Table& (*fragment)());

void append(std::vector<Field>& to, std::vector<Field> from);

}  // namespace trainctl::spec
