// SPDX-License-Identifier: Apache-2.0
#include "spec/schema.hpp"

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "spec/check.hpp"
#include "spec/estimator.hpp"
#include "spec/estimator_preset.hpp"
#include "spec/json_schema.hpp"
#include "spec/kinds.hpp"
#include "spec/run_tables.hpp"
#include "spec/target.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"

using namespace trainctl;
using namespace trainctl::spec;

namespace {

/// Every kind of file that people write: its schema, and the examples or data that have to decode.
struct Kind {
  const Table& (*table)();
  const char* folder;
  const char* ending;
};
const Kind kKinds[] = {{&run_table, "examples", ".run.json"},
                       {&target_table, "examples/targets", ".json"},
                       {&estimator_table, "examples", ".estimator.json"},
                       {&estimator_preset_table, "configs/estimators", ".json"}};

std::filesystem::path schema_file(const Kind& kind) {
  return std::filesystem::path(TRAINCTL_SOURCE_DIR) / "schemas" / (std::string(kind.table().name) + ".schema.json");
}

}  // namespace

TEST_CASE("the schemas in the repository are the decoder's", "[schema]") {
  for (const Kind& kind : kKinds) {
    const std::string made = json_schema(kind.table());
    if (std::getenv("TRAINCTL_REGENERATE") != nullptr) REQUIRE(base::write_file_atomic(schema_file(kind), made, 0644));
    const auto kept = base::read_file(schema_file(kind));
    REQUIRE(kept);
    INFO("run unit-spec with TRAINCTL_REGENERATE=1 after a change of the tables: " << kind.table().name);
    CHECK(*kept == made);
  }
}

TEST_CASE("every kind that is run has a schema", "[schema]") {
  for (const SpecKind& kind : spec_kinds()) {
    if (kind.table != nullptr) CHECK(kind.table().name == kind.type);
  }
}

TEST_CASE("every reference of a schema leads somewhere", "[schema]") {
  for (const Kind& kind : kKinds) {
    const auto schema = base::parse_json(json_schema(kind.table()));
    REQUIRE(schema);
    const std::string text = base::dump_json(*schema);
    const std::string mark = "\"#/$defs/";
    std::size_t found = 0;
    for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1), ++found) {
      const std::size_t begin = at + mark.size();
      const std::string name = text.substr(begin, text.find('"', begin) - begin);
      CHECK((*schema)["$defs"].contains(name));
    }
    CHECK(found > 3);
  }
}

TEST_CASE("aliases lead to fields and are no fields themselves", "[schema]") {
  for (const Table* table : {&run_table(), &fragment_table(), &settings_table(), &environment_table(), &target_table(),
                             &estimator_table(), &estimator_fragment_table(), &estimator_preset_table()}) {
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
  for (const Kind& kind : kKinds) {
    const std::string page = reference_page(kind.table());
    for (const Field& field : kind.table().fields) {
      CHECK(page.find("| `" + std::string(field.name) + "` |") != std::string::npos);
      CHECK_FALSE(field.doc.empty());
    }
  }
}

TEST_CASE("each example and each preset decodes", "[schema]") {
  for (const Kind& kind : kKinds) {
    const std::filesystem::path root = std::filesystem::path(TRAINCTL_SOURCE_DIR) / kind.folder;
    std::size_t seen = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      if (!entry.path().string().ends_with(kind.ending)) continue;
      ++seen;
      INFO(entry.path());
      const auto text = base::read_file(entry.path());
      REQUIRE(text);
      auto located = base::parse_located(*text, entry.path().string());
      REQUIRE(located);
      Errors errors;
      check_document(*located, kind.table(), {}, errors);
      for (const Error& error : errors) FAIL_CHECK(error.field << ": " << error.message);
    }
    CHECK(seen > 0);
  }
}
