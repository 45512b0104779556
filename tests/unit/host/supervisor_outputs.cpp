// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "format/output_list.hpp"
#include "host/supervisor/list_outputs.hpp"
#include "support/catch.hpp"
#include "unit/base/temp_dir.hpp"

using namespace trainctl;
using namespace trainctl::host;
namespace stdfs = std::filesystem;

namespace {

void write(const stdfs::path& path, std::string_view text) {
  stdfs::create_directories(path.parent_path());
  REQUIRE(base::write_file_atomic(path, text));
}

std::vector<std::string> paths_of(const std::vector<format::OutputEntry>& entries) {
  std::vector<std::string> paths;
  for (const auto& entry : entries) paths.push_back(entry.path);
  return paths;
}

const auto kNoHurry = [] { return false; };

}  // namespace

TEST_CASE("outputs are listed in the order of their paths, links as links") {
  const test::TempDir folder;
  const auto outputs = folder.path() / "outputs";
  const auto list = folder.path() / "outputs.jsonl";
  write(folder.path() / "outside/secret", "no");
  write(outputs / "a/x", "xx");
  write(outputs / "a.b", "");
  write(outputs / "a-b/deep/y", "y");
  write(outputs / std::string("caf\xe9"), "latin");
  stdfs::create_directories(outputs / "empty/er");
  stdfs::create_directory_symlink("../outside", outputs / "way out");
  stdfs::create_symlink("/etc/passwd", outputs / "passwd");
  REQUIRE(::mkfifo((outputs / "pipe").c_str(), 0600) == 0);
  REQUIRE(::chmod((outputs / "a/x").c_str(), 0751) == 0);
  CHECK(has_outputs(outputs));
  CHECK_FALSE(has_outputs(outputs / "empty/er"));
  CHECK(has_outputs(outputs / "way out"));  // a link in its place is worth a word
  CHECK_FALSE(has_outputs(folder.path() / "missing"));

  const auto listing = list_outputs(outputs, list, kNoHurry).value();
  CHECK(listing.files == 4);
  CHECK(listing.bytes == 8);
  CHECK(listing.unread == 0);
  CHECK(listing.problems.empty());
  const auto entries = format::read_output_list(list).value().value();
  const std::vector<std::string> expected = {"a-b/deep/y", "a.b", "a/x", "caf\xe9", "passwd", "pipe", "way out"};
  CHECK(paths_of(entries) == expected);
  CHECK(entries[2].sha256 == base::sha256_hex("xx"));
  CHECK(entries[2].mode == 0751);
  CHECK(entries[1].sha256 == base::sha256_hex(""));
  CHECK(entries[4].link == "/etc/passwd");
  CHECK(entries[5].special == "fifo");
  CHECK(entries[6].link == "../outside");
}

TEST_CASE("no entries, no list; an outputs folder that became a link is not followed") {
  const test::TempDir folder;
  const auto outputs = folder.path() / "outputs";
  const auto list = folder.path() / "outputs.jsonl";
  stdfs::create_directories(outputs / "empty");
  CHECK(list_outputs(outputs, list, kNoHurry).value().files == 0);
  CHECK_FALSE(base::exists(list));
  stdfs::remove_all(outputs);
  write(folder.path() / "outside/file", "x");
  stdfs::create_directory_symlink("outside", outputs);
  CHECK_FALSE(list_outputs(outputs, list, kNoHurry));
  CHECK_FALSE(base::exists(list));
  CHECK(base::list_directory(folder.path()).value() == std::vector<std::string>{"outputs", "outside"});
}

TEST_CASE("in a hurry files are listed without being read") {
  const test::TempDir folder;
  const auto outputs = folder.path() / "outputs";
  for (const char* name : {"a", "b", "c"}) write(outputs / name, "text");
  int asked = 0;
  const auto list = folder.path() / "outputs.jsonl";
  const auto listing = list_outputs(outputs, list, [&] { return ++asked > 3; }).value();
  CHECK(listing.files == 3);
  CHECK(listing.unread == 2);
  const auto entries = format::read_output_list(list).value().value();
  REQUIRE(entries.size() == 3);
  CHECK(entries[0].sha256);
  CHECK_FALSE(entries[2].sha256);
  CHECK(entries[2].size == 4);
}

TEST_CASE("a list that cannot be written leaves nothing behind") {
  const test::TempDir folder;
  const auto outputs = folder.path() / "outputs";
  write(outputs / "a", "text");
  stdfs::create_directories(folder.path() / "list/occupied");
  CHECK_FALSE(list_outputs(outputs, folder.path() / "list", kNoHurry));
  CHECK(base::list_directory(folder.path()).value() == std::vector<std::string>{"list", "outputs"});
}
