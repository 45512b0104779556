// SPDX-License-Identifier: Apache-2.0
#include "index/index.hpp"

#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "format/metric.hpp"
#include "format/state.hpp"
#include "index/query.hpp"
#include "index/series.hpp"
#include "unit/base/temp_dir.hpp"
#include "unit/index/made_runs.hpp"

namespace {

using namespace trainctl;
using namespace std::chrono_literals;
using index::Index;
using index::Mode;
using test::add_event;
using test::add_metric;
using test::end_run;
using test::make_run;

index::Refreshed refresh(const archive::Store& store) {
  auto index = Index::open(store, Mode::read);
  if (!index) FAIL(index.error().message);
  auto done = (*index)->refresh(1s);
  if (!done) FAIL(done.error().message);
  return *done;
}

std::vector<index::RunRow> rows(const archive::Store& store) {
  auto index = Index::open(store, Mode::read).value();
  const auto done = index->refresh(1s);
  if (!done) FAIL(done.error().message);
  return index->query({.limit = 1000}).value().rows;
}

TEST_CASE("the index follows a run from its plan to its end") {
  const test::TempDir folder;
  const auto store = archive::Store::open(folder.path() / "store").value();
  CHECK(rows(store).empty());
  const std::string id = make_run(store, {.parameters = {{"lr", 0.1}}, .tags = {{"team", "vision"}}});
  REQUIRE(rows(store).size() == 1);
  CHECK(rows(store)[0].state == format::State::created);
  CHECK(rows(store)[0].parameters == Json({{"lr", 0.1}}));
  add_event(store, id, "state", {{"state", "running"}});
  add_metric(store, id, "accuracy", 0.9, 1);
  CHECK(rows(store)[0].state == format::State::running);
  add_metric(store, id, "accuracy", 0.7, 2);
  const auto running = rows(store)[0];
  REQUIRE(running.metrics.size() == 1);
  CHECK(running.metrics[0].last == 0.7);
  CHECK(running.metrics[0].best == 0.9);
  CHECK(running.metrics[0].step == 2);
  CHECK(running.metrics[0].points == 2);
  end_run(store, id);
  CHECK(rows(store)[0].state == format::State::succeeded);
  CHECK(rows(store)[0].exit_code == 0);
  CHECK(refresh(store).updated == 0);
}

TEST_CASE("a new attempt begins with no metrics") {
  const test::TempDir folder;
  const auto store = archive::Store::open(folder.path() / "store").value();
  const std::string id = make_run(store);
  add_event(store, id, "end", {{"state", "failed"}, {"next", "retry"}});
  add_metric(store, id, "accuracy", 0.9, 1, 1);
  add_metric(store, id, "old", 1, 1, 1);
  REQUIRE(rows(store)[0].metrics.size() == 2);
  add_event(store, id, "state", {{"state", "running"}}, 2);
  add_metric(store, id, "accuracy", 0.1, 1, 2);
  const auto row = rows(store)[0];
  CHECK(row.attempts == 2);
  REQUIRE(row.metrics.size() == 1);
  CHECK(row.metrics[0].best == 0.1);
}

TEST_CASE("metrics of a file that its script made shorter are read anew") {
  const test::TempDir folder;
  const auto store = archive::Store::open(folder.path() / "store").value();
  const std::string id = make_run(store);
  add_event(store, id, "state", {{"state", "running"}});
  for (int i = 0; i < 5; ++i) add_metric(store, id, "accuracy", 0.9, i);
  REQUIRE(rows(store)[0].metrics[0].points == 5);
  std::filesystem::resize_file(store.run(id).attempt(1).metrics() / "script-r0.jsonl", 0);
  add_metric(store, id, "loss", 1);
  const auto row = rows(store)[0];
  REQUIRE(row.metrics.size() == 1);
  CHECK(row.metrics[0].name == "loss");
}

TEST_CASE("removed and late folders are noticed") {
  const test::TempDir folder;
  const auto store = archive::Store::open(folder.path() / "store").value();
  const std::string late = make_run(store);
  const auto elsewhere = folder.path() / "late";
  std::filesystem::rename(store.run(late).root, elsewhere);
  const std::string second = make_run(store);
  const std::string third = make_run(store);
  CHECK(rows(store).size() == 2);
  // A folder with an older id appears after newer ones, and another one goes at the same time.
  std::filesystem::rename(elsewhere, store.run(late).root);
  REQUIRE(store.remove_run(second).has_value());
  const auto found = rows(store);
  REQUIRE(found.size() == 2);
  CHECK(found[0].id == third);
  CHECK(found[1].id == late);
}

TEST_CASE("a folder without a plan is not shown until it has one") {
  const test::TempDir folder;
  const auto store = archive::Store::open(folder.path() / "store").value();
  const std::string id = make_run(store, {.parameters = {{"lr", 1}}});
  const auto plan = store.run(id).plan();
  std::filesystem::rename(plan, folder.path() / "plan");
  CHECK(rows(store).empty());
  std::filesystem::rename(folder.path() / "plan", plan);
  REQUIRE(rows(store).size() == 1);
  auto index = Index::open(store, Mode::read).value();
  CHECK(index->query({.where = "parameters.lr = 1"}).value().rows.size() == 1);
}

TEST_CASE("a missing, damaged or foreign index is made anew") {
  const test::TempDir folder;
  const auto store = archive::Store::open(folder.path() / "store").value();
  for (int i = 0; i < 300; ++i) {
    const std::string id = make_run(store, {.parameters = {{"text", std::string(300, 'x')}}});
    if (i < 10) add_metric(store, id, "accuracy", i);
    end_run(store, id);
  }
  REQUIRE(rows(store).size() == 300);
  const auto path = store.paths().index();
  SECTION("deleted") {
    std::filesystem::remove(path);
  }
  SECTION("deleted with everything beside it") {
    for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path.string() + suffix);
  }
  SECTION("not a database") {
    for (const char* suffix : {"-wal", "-shm"}) std::filesystem::remove(path.string() + suffix);
    REQUIRE(base::write_file_atomic(path, "this is no database, not at all, whatever you may think of it").has_value());
  }
  SECTION("empty") {
    for (const char* suffix : {"-wal", "-shm"}) std::filesystem::remove(path.string() + suffix);
    REQUIRE(base::write_file_atomic(path, "").has_value());
  }
  SECTION("garbage in the middle") {
    REQUIRE(Index::open(store, Mode::exclusive).value()->rebuild().has_value());
    // Everything into the file itself, so that there is a middle to damage.
    for (const char* name : {"-wal"}) {
      const auto text = base::read_file(path.string() + name);
      REQUIRE(text.has_value());
      std::string bytes = *text;
      for (std::size_t i = bytes.size() / 4; i < bytes.size() * 3 / 4; ++i) bytes[i] = static_cast<char>(i * 31);
      REQUIRE(base::write_file_atomic(path.string() + name, bytes).has_value());
    }
    std::filesystem::remove(path.string() + "-shm");
  }
  auto index = Index::open(store, Mode::read).value();
  const auto done = index->refresh(1s);
  if (!done) FAIL(done.error().message);
  CHECK(index->query({.limit = 1000}).value().rows.size() == 300);
  CHECK(index->query({.where = "accuracy > 4"}).value().rows.size() == 5);
  CHECK(index->check().value().empty());
}

TEST_CASE("pages of a damaged database file lead to a rebuild") {
  const test::TempDir folder;
  const auto store = archive::Store::open(folder.path() / "store").value();
  for (int i = 0; i < 500; ++i) {
    const std::string id = make_run(store, {.parameters = {{"text", std::string(2000, 'x')}}});
    add_metric(store, id, "accuracy", i);
    end_run(store, id);
  }
  REQUIRE(rows(store).size() == 500);
  REQUIRE(base::file_size(store.paths().index()).value_or(0) > 100'000);
  auto bytes = base::read_file(store.paths().index()).value();
  for (std::size_t i = 8192; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 131 >> 3U);
  REQUIRE(base::write_file_atomic(store.paths().index(), bytes).has_value());
  for (const char* suffix : {"-wal", "-shm"}) std::filesystem::remove(store.paths().index().string() + suffix);
  CHECK(rows(store).size() == 500);
}

TEST_CASE("twenty processes refresh at once") {
  const test::TempDir folder;
  const auto store = archive::Store::open(folder.path() / "store").value();
  for (int i = 0; i < 200; ++i) end_run(store, make_run(store));
  std::vector<pid_t> children;
  for (int i = 0; i < 20; ++i) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      int code = 0;
      for (int round = 0; round < 5 && code == 0; ++round) {
        auto index = Index::open(store, Mode::read);
        if (!index) ::_exit(2);
        if (!(*index)->refresh(50ms)) ::_exit(3);
        const auto page = (*index)->query({.limit = 1000});
        if (!page) code = 4;
        // Without the lock a part may be all there is so far.
        if (page && (*index)->has_lock() && page->rows.size() != 200) code = 5;
      }
      ::_exit(code);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
  }
  CHECK(Index::open(store, Mode::read).value()->check().value().empty());
}

TEST_CASE("a reader answers from the last state while another process holds the lock") {
  const test::TempDir folder;
  const auto store = archive::Store::open(folder.path() / "store").value();
  end_run(store, make_run(store));
  REQUIRE(rows(store).size() == 1);
  const auto held = base::FileLock::try_acquire(store.paths().index_lock()).value();
  REQUIRE(held.has_value());
  (void)make_run(store);
  auto index = Index::open(store, Mode::read).value();
  CHECK_FALSE(index->has_lock());
  const auto refreshed = index->refresh(50ms).value();
  CHECK_FALSE(refreshed.complete);
  CHECK(base::wall_now() - refreshed.as_of < 60s);
  CHECK(refreshed.held_by == ::getpid());
  CHECK(index->query({}).value().rows.size() == 1);
}

TEST_CASE("a sweep that runs out of time goes on where it stopped") {
  const test::TempDir folder;
  const auto store = archive::Store::open(folder.path() / "store").value();
  std::vector<std::string> ids;
  for (int i = 0; i < 50; ++i) {
    ids.push_back(make_run(store));
    add_event(store, ids.back(), "state", {{"state", "queued"}});
  }
  REQUIRE(refresh(store).complete);
  REQUIRE(refresh(store).complete);
  for (const std::string& id : ids) end_run(store, id);
  std::uint64_t updated = 0;
  bool complete = false;
  for (int i = 0; i < 1000 && !complete; ++i) {
    auto index = Index::open(store, Mode::read).value();
    const auto done = index->refresh(0ms).value();
    updated += done.updated;
    complete = done.complete;
  }
  const auto last = refresh(store);
  CHECK(updated + last.updated == 50);
  CHECK(last.complete);
}

TEST_CASE("series keep their peaks when they are thinned out") {
  const test::TempDir folder;
  const auto store = archive::Store::open(folder.path() / "store").value();
  const std::string id = make_run(store);
  std::string text;
  for (int i = 0; i < 10'000; ++i) {
    const double value = i == 7777 ? 100.0 : i % 10;
    format::encode_metric({.t = base::wall_now(), .step = i, .name = "loss", .value = value}, text);
  }
  REQUIRE(base::make_directories(store.run(id).attempt(1).metrics()).has_value());
  REQUIRE(base::write_file_atomic(store.run(id).attempt(1).metrics() / "script-r0.jsonl", text + "{\"t\":1,\"st")
              .has_value());
  const auto all = index::read_series(store.run(id).attempt(1), {}).value();
  REQUIRE(all.size() == 1);
  CHECK(all[0].points.size() == 10'000);
  const auto some = index::read_series(store.run(id).attempt(1), {.names = {"loss"}, .most_points = 100}).value();
  REQUIRE(some.size() == 1);
  CHECK(some[0].points.size() <= 100);
  CHECK(some[0].points.size() >= 25);
  CHECK(some[0].count == 10'000);
  CHECK(some[0].highest.value == 100.0);
  CHECK(some[0].highest.step == 7777);
  CHECK(std::any_of(some[0].points.begin(), some[0].points.end(),
                    [](const auto& point) { return point.value == 100.0; }));
  CHECK(some[0].points.front().step == 0);
  CHECK(some[0].points.back().step == 9999);
  CHECK(std::is_sorted(some[0].points.begin(), some[0].points.end(),
                       [](const auto& a, const auto& b) { return *a.step < *b.step; }));
}

}  // namespace
