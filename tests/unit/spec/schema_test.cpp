// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "spec/check.hpp"
#include "spec/json_schema.hpp"
#include "spec/run_tables.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::spec;

TEST_CASE("the schema in the repository is the decoder's", "[schema]") {
  const std::filesystem::path file = std::filesystem::path(TRAINCTL_SOURCE_DIR) / "schemas" / "run.schema.json";
  const std::string made = json_schema(run_table());
  if (std::getenv("TRAINCTL_REGENERATE") != nullptr) REQUIRE(base::write_file_atomic(file, made, 0644));
  const auto kept = base::read_file(file);
  REQUIRE(kept);
  INFO("run unit-spec with TRAINCTL_REGENERATE=1 after a change of the tables");
  CHECK(*kept == made);
}

TEST_CASE("every reference of the schema leads somewhere", "[schema]") {
  const auto schema = base::parse_json(json_schema(run_table()));
  REQUIRE(schema);
  const std::string text = base::dump_json(*schema);
  const std::string mark = "\"#/$defs/";
  std::size_t found = 0;
  for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1), ++found) {
    const std::size_t begin = at + mark.size();
    const std::string name = text.substr(begin, text.find('"', begin) - begin);
    CHECK((*schema)["$defs"].contains(name));
  }
  CHECK(found > 10);
}

TEST_CASE("aliases lead to fields and are no fields themselves", "[schema]") {
  for (const Table* table : {&run_table(), &fragment_table(), &settings_table(), &environment_table()}) {
    std::set<std::string_view> names;
    for (const Field& field : table->fields) CHECK(names.insert(field.name).second);
    for (const Alias& alias : table->aliases) {
      INFO(alias.name);
      CHECK(names.insert(alias.name).second);
      CHECK(find_type(*table, alias.path));
    }
  }
}

TEST_CASE("every field has a line in the reference page", "[schema]") {
  const std::string page = reference_page(run_table());
  for (const Field& field : run_table().fields) {
    CHECK(page.find("| `" + std::string(field.name) + "` |") != std::string::npos);
    CHECK_FALSE(field.doc.empty());
  }
}

TEST_CASE("each example decodes", "[schema]") {
  const std::filesystem::path root = std::filesystem::path(TRAINCTL_SOURCE_DIR) / "examples";
  if (!std::filesystem::exists(root)) return;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (!entry.path().string().ends_with(".run.json")) continue;
    INFO(entry.path());
    const auto text = base::read_file(entry.path());
    REQUIRE(text);
    auto located = base::parse_located(*text, entry.path().string());
    REQUIRE(located);
    Errors errors;
    check_document(*located, run_table(), {}, errors);
    for (const Error& error : errors) FAIL_CHECK(error.field << ": " << error.message);
  }
}
