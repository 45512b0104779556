// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.hpp"
#include "base/ulid.hpp"
#include "format/paths.hpp"
#include "host/supervisor/garbage.hpp"
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

}  // namespace

TEST_CASE("drafts of a run are removed, everything else stays") {
  const test::TempDir folder;
  const format::RunPaths run{folder.path() / "runs" / base::new_ulid()};
  const auto attempt = run.attempt(1);
  for (const auto& path : {run.root / ".outputs-1", attempt.root / ".draft-1/work/file", attempt.root / ".keep-1",
                           attempt.root / ".outputs-2", attempt.node(0) / ".rank-0-1", attempt.node(0) / ".fence-1"}) {
    write(path, "x");
  }
  const std::vector<stdfs::path> kept = {run.plan(),
                                         attempt.events(),
                                         attempt.rank(0, 0),
                                         attempt.outputs() / ".draft-1",
                                         attempt.work() / ".outputs-1",
                                         attempt.output_list()};
  for (const auto& path : kept) write(path, "x");
  remove_drafts(run, 1, false);
  std::size_t files = 0;
  for (const auto& entry : stdfs::recursive_directory_iterator(run.root)) files += entry.is_regular_file() ? 1 : 0;
  CHECK(files == kept.size());
  for (const auto& path : kept) CHECK(base::exists(path));
}

TEST_CASE("a node in node 0's folder removes only its own drafts") {
  const test::TempDir folder;
  const format::RunPaths run{folder.path() / "runs" / base::new_ulid(), 1};
  const auto attempt = run.attempt(1);
  const auto others = {run.root / ".outputs-1", attempt.root / ".draft-1/work/file", attempt.root / ".outputs-2",
                       attempt.node(0) / ".rank-0-1"};
  for (const auto& path : others) write(path, "x");
  write(attempt.node(1) / ".rank-1-1", "x");
  remove_drafts(run, 1, true);
  for (const auto& path : others) CHECK(base::exists(path));
  CHECK_FALSE(base::exists(attempt.node(1) / ".rank-1-1"));
}

TEST_CASE("secrets of ended and of missing runs are swept, those of others stay") {
  const test::TempDir folder;
  const format::StorePaths store{folder.path()};
  const auto age = [&](const std::string& name, std::chrono::seconds by) {
    stdfs::last_write_time(store.secrets(name), stdfs::file_time_type::clock::now() - by);
  };
  const auto secret = [&](std::chrono::seconds by) {
    const std::string id = base::new_ulid();
    write(store.secrets(id), "{}");
    age(id, by);
    return id;
  };
  const std::string end = "{\"type\":\"end\",\"state\":\"succeeded\"}\n";
  const std::string ended = secret(std::chrono::minutes(2));
  write(store.run(ended).attempt(1).events(), end);
  const std::string fresh = secret(std::chrono::seconds(0));
  write(store.run(fresh).attempt(1).events(), end);
  const std::string running = secret(std::chrono::hours(50));
  write(store.run(running).attempt(1).events(), "{\"type\":\"state\",\"state\":\"running\"}\n");
  const std::string again = secret(std::chrono::hours(2));
  write(store.run(again).attempt(1).events(), "{\"type\":\"end\",\"state\":\"failed\",\"next\":\"retry\"}\n");
  const std::string missing = secret(std::chrono::hours(2));
  const std::string submitted = secret(std::chrono::minutes(10));
  write(store.secrets(".draft"), "{}");
  age(".draft", std::chrono::hours(2));
  sweep_secrets(store);
  CHECK_FALSE(base::exists(store.secrets(ended)));
  CHECK_FALSE(base::exists(store.secrets(missing)));
  CHECK_FALSE(base::exists(store.secrets(".draft")));
  for (const std::string& id : {fresh, running, again, submitted}) CHECK(base::exists(store.secrets(id)));
}
