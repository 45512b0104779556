// SPDX-License-Identifier: Apache-2.0
// Arbitrary bytes as a run configuration: parsed, checked, stored, validated, expanded. What is accepted must be
// accepted again when we write it down.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "spec/check.hpp"
#include "spec/expand.hpp"
#include "spec/run_tables.hpp"
#include "spec/shell_text.hpp"
#include "spec/validate.hpp"

using namespace trainctl;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes as text
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)spec::expand_shell(text, {});
  const auto located = base::parse_located(text, "fuzz");
  if (!located) {
    if (located.error().empty()) std::abort();
    return 0;
  }
  Errors errors;
  const spec::Layer layer = spec::check_document(*located, spec::run_table(), {}, errors);
  spec::RunConfiguration config;
  if (layer.value.is_object()) spec::read_run_configuration(layer.value, config);
  (void)spec::validate(config, layer.origins, errors.empty());
  if (!errors.empty()) return 0;
  const auto again = base::parse_located(base::pretty_json(layer.value), "again");
  if (!again) std::abort();
  Errors second;
  const spec::Layer same = spec::check_document(*again, spec::run_table(), {}, second);
  if (!second.empty() || same.value != layer.value) std::abort();
  return 0;
}
