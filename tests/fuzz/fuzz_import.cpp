// SPDX-License-Identifier: Apache-2.0
// Files of other tools: any bytes are refused with a position, or become a JSON object with a report of every field.
// linked with: trainctl_yaml
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "spec/import/import.hpp"
#include "yaml/yaml.hpp"

namespace {

using namespace trainctl;

void check(const Result<spec::import::Imported>& made, const base::LocatedJson& document) {
  if (!made) return;
  if (!made->configuration.is_object()) std::abort();
  if (made->items.size() < document.value.size() && document.value.size() == 1) std::abort();
  (void)base::pretty_json(made->configuration);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto document = yaml::parse(text, "x.runconfig");
  if (!document) {
    if (!document.error().at || document.error().at->line == 0 || document.error().at->column == 0) std::abort();
    return 0;
  }
  spec::import::Request request;
  request.file = "x.runconfig";
  request.project = "/project";
  request.from = "/project/here";
  request.read = [&](const std::filesystem::path&) { return Result<base::LocatedJson>(*document); };
  (void)spec::import::recognise("x.yml", document->value);
  check(spec::import::azureml_runconfig(*document, request), *document);
  check(spec::import::mlproject(*document, request), *document);
  return 0;
}
