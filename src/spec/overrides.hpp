// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "spec/layer.hpp"
#include "spec/load.hpp"
#include "spec/schema.hpp"

namespace trainctl::spec {

/// The flags as a layer. Each value is read by the type of its field in `table`, the fragment of the file's kind.
Layer override_layer(const Overrides& overrides, const Table& table, Errors& errors);

/// Leading `--key value`, `--flag` (or, all of them, `--key=value`) pairs as parameters; the rest stays. Rendering the
/// parameters in `style` gives the same words again.
struct ScriptArguments {
  Json parameters = Json::object();
  std::string style = "--k v";
  std::vector<std::string> rest;
};
ScriptArguments split_script_arguments(const std::vector<std::string>& arguments);

/// 0.1, 3, true and null as themselves when they are written the way we would write them, everything else as text.
Json parse_scalar(const std::string& text);

}  // namespace trainctl::spec
