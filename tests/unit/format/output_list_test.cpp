// SPDX-License-Identifier: Apache-2.0
#include "format/output_list.hpp"

#include <string>

#include "base/file.hpp"
#include "support/catch.hpp"
#include "unit/base/temp_dir.hpp"

using namespace trainctl;
using format::OutputEntry;

TEST_CASE("lines of an output list say what a reader gets back") {
  const std::string hash(64, 'a');
  CHECK(format::to_line({.path = "m/model.bin", .size = 3, .sha256 = hash, .mode = 0640}) ==
        R"({"path":"m/model.bin","size":3,"sha256":")" + hash + "\",\"mode\":\"0640\"}\n");
  CHECK(format::to_line({.path = "cut", .size = 9, .mode = 0600}) ==
        "{\"path\":\"cut\",\"size\":9,\"sha256\":null,\"mode\":\"0600\"}\n");
  CHECK(format::to_line({.path = "last", .link = "m/model.bin"}) == "{\"path\":\"last\",\"link\":\"m/model.bin\"}\n");
  CHECK(format::to_line({.path = "p", .special = "fifo"}) == "{\"path\":\"p\",\"special\":\"fifo\"}\n");

  const test::TempDir folder;
  const auto path = folder.path() / "outputs.jsonl";
  CHECK_FALSE(format::read_output_list(path).value());
  const std::string strange = "caf\xe9/\xff\xfe";
  const std::string text = format::to_line({.path = strange, .size = 5, .sha256 = hash, .mode = 0755}) + "noise\n{}\n" +
                           format::to_line({.path = "l", .link = strange}) + "{\"path\":\"torn";
  REQUIRE(base::write_file_atomic(path, text));
  const auto entries = format::read_output_list(path).value();
  REQUIRE(entries);
  REQUIRE(entries->size() == 2);
  CHECK(entries->at(0).path == strange);
  CHECK(entries->at(0).size == 5);
  CHECK(entries->at(0).sha256 == hash);
  CHECK(entries->at(0).mode == 0755);
  CHECK_FALSE(entries->at(0).link);
  CHECK(entries->at(1).link == strange);
}
