// SPDX-License-Identifier: Apache-2.0
// The tables as a JSON Schema (draft 2020-12) for editors, and as a page for people.
#pragma once

#include <string>

#include "spec/schema.hpp"

namespace trainctl::spec {

/// What `trainctl schema run` prints and schemas/run.schema.json holds, with a final newline.
std::string json_schema(const Table& table);

/// Markdown: every block with its fields, what they accept, what they mean, and their other spellings.
std::string reference_page(const Table& table);

}  // namespace trainctl::spec
