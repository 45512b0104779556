// SPDX-License-Identifier: Apache-2.0
#include "format/input_list.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::format {

Result<> write_sent_inputs(const std::filesystem::path& file, const std::vector<SentInput>& inputs) {
  Json items = Json::array();
  for (const SentInput& input : inputs)
    items.push_back({{"digest", input.digest}, {"path", input.path}, {"manifest", input.manifest}});
  return base::write_file_durable(file, base::dump_json(Json{{"items", std::move(items)}}) + "\n");
}

Result<std::vector<SentInput>> read_sent_inputs(const std::filesystem::path& file) {
  std::vector<SentInput> inputs;
  TRY_ASSIGN(const auto text, base::read_file_if_exists(file));
  if (!text) return inputs;
  TRY_ASSIGN(const Json json, base::parse_json(*text));
  const auto items = json.is_object() ? json.find("items") : json.end();
  if (!json.is_object() || items == json.end() || !items->is_array())
    return fail(Errc::store, file.string() + " is damaged", "submit the run again");
  for (const Json& item : *items)
    inputs.push_back({item.value("digest", ""), item.value("path", ""), item.value("manifest", "")});
  return inputs;
}

}  // namespace trainctl::format
