// SPDX-License-Identifier: Apache-2.0
// What is mirrored of a run, and that nothing is missed where it is not listed anew.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "../base/temp_dir.hpp"
#include "base/file.hpp"
#include "format/paths.hpp"
#include "host/stdio/run_listing.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;

namespace {

namespace fs = std::filesystem;
using Files = std::vector<std::string>;

void write(const fs::path& path) {
  REQUIRE(base::make_directories(path.parent_path()));
  REQUIRE(base::write_file_atomic(path, "x"));
}

/// As if nothing had changed for an hour.
void let_settle(const fs::path& folder) {
  const auto before = fs::file_time_type::clock::now() - std::chrono::hours(1);
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_directory()) fs::last_write_time(entry.path(), before);
  }
}

Files listed(RunListing& listing, const format::RunPaths& run) {
  listing.refresh(run, false);
  return listing.files();
}

}  // namespace

TEST_CASE("the files of a run that are mirrored are listed, and what comes later") {
  const test::TempDir folder;
  const format::RunPaths run(folder.path() / "01m8n0bpcsbvr2nqqtw756mk2j");
  RunListing listing;
  CHECK(listed(listing, run).empty());
  CHECK(listing.last_attempt() == 0);
  const auto attempt = run.attempts() / "1";
  write(attempt / "events.jsonl");
  write(attempt / "work" / "left-out");
  write(attempt / "logs" / "std.log");
  write(attempt / "logs" / ".std.log.tmp-1");
  Files wanted = {"attempts/1/events.jsonl", "attempts/1/logs/std.log"};
  CHECK(listed(listing, run) == wanted);
  CHECK(listing.last_attempt() == 1);
  // Each of these in a folder that was quiet, and listed so.
  for (const std::string name :
       {"metrics/script-r0.jsonl", "nodes/0/rank-0.jsonl", "nodes/0/deeper/still.jsonl", "nodes/1/rank-1.jsonl"}) {
    let_settle(run.attempts());
    CHECK(listed(listing, run) == wanted);
    CHECK(listed(listing, run) == wanted);
    write(attempt / name);
    const Files now = listed(listing, run);
    CHECK(std::count(now.begin(), now.end(), "attempts/1/" + name) == 1);
    CHECK(now.size() == wanted.size() + 1);
    wanted = now;
  }
  let_settle(run.attempts());
  CHECK(listed(listing, run) == wanted);
  write(run.attempts() / "2" / "events.jsonl");
  CHECK(listed(listing, run).back() == "attempts/2/events.jsonl");
  CHECK(listing.last_attempt() == 2);
}

TEST_CASE("a folder that has just changed, or that others write to, is listed again") {
  const test::TempDir folder;
  const format::RunPaths run(folder.path() / "01m8n0bpcsbvr2nqqtw756mk2j");
  const auto logs = run.attempts() / "1" / "logs";
  write(logs / "std.log");
  RunListing listing;
  for (const bool quiet : {false, true}) {
    const fs::path late = logs / (quiet ? "b.log" : "a.log");
    if (quiet) let_settle(run.attempts());
    listing.refresh(run, false);
    const auto before = fs::last_write_time(logs);
    write(late);
    fs::last_write_time(logs, before);  // within the grain of the time stamp
    listing.refresh(run, quiet);
    CHECK(base::exists(late));
    CHECK(listing.files().size() == (quiet ? 3 : 2));
  }
}
