// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "spec/run_configuration.hpp"
#include "spec/schema.hpp"

namespace trainctl::spec {

/// A run configuration file.
const Table& run_table();
/// What may stand in a profile, under "on", in a project's trainctl.json and in the user's config: no type and no
/// composition.
const Table& fragment_table();
/// trainctl.json of a project, and the user's config.json: a fragment with profiles and "on".
const Table& settings_table();
/// A file that "environment": "envs/torch.json" refers to.
const Table& environment_table();

/// Fills the struct from a checked document in canonical spelling (see check.hpp).
void read_run_configuration(const Json& checked, RunConfiguration& out);

}  // namespace trainctl::spec
