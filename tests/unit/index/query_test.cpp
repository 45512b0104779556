// SPDX-License-Identifier: Apache-2.0
#include "index/query.hpp"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "archive/store.hpp"
#include "index/index.hpp"
#include "trainctl/error.hpp"
#include "unit/base/temp_dir.hpp"
#include "unit/index/made_runs.hpp"

namespace {

using namespace trainctl;
using namespace std::chrono_literals;
using index::Index;
using index::Mode;
using test::add_metric;
using test::end_run;
using test::make_run;

archive::Store filled(const std::filesystem::path& root) {
  auto store = archive::Store::open(root / "store");
  REQUIRE(store.has_value());
  for (int i = 0; i < 40; ++i) {
    const std::string id =
        make_run(*store, {.base_name = i % 2 == 0 ? "digits" : "resnet",
                          .parameters = {{"lr", 0.1 * i}, {"amp", i % 3 == 0}, {"opt", i % 4 == 0 ? "sgd" : "adam"}},
                          .tags = {{"team", i % 5 == 0 ? "vision" : "text"}}});
    // Equal values, missing values, NaN and infinity: what keyset paging gets wrong most easily.
    const int equal = i / 4;
    if (i % 4 != 3) add_metric(*store, id, "accuracy", equal / 10.0);
    if (i == 6) add_metric(*store, id, "accuracy", std::numeric_limits<double>::quiet_NaN());
    if (i == 8) add_metric(*store, id, "accuracy", std::numeric_limits<double>::infinity());
    end_run(*store, id, i % 10 == 9 ? "failed" : "succeeded");
  }
  return *store;
}

std::vector<std::string> names(const index::RunPage& page) {
  std::vector<std::string> found;
  for (const auto& row : page.rows) found.push_back(row.name);
  return found;
}

std::size_t count(Index& index, const std::string& where) {
  INFO(where);
  const auto page = index.query({.where = where, .limit = 1000});
  if (!page) FAIL(page.error().message);
  return page->rows.size();
}

TEST_CASE("runs are filtered by columns, metrics, parameters and tags") {
  const test::TempDir folder;
  const archive::Store store = filled(folder.path());
  auto index = Index::open(store, Mode::read).value();
  REQUIRE(index->refresh(50ms).value().complete);
  CHECK(count(*index, "") == 40);
  CHECK(count(*index, "state = failed") == 4);
  CHECK(count(*index, "not state = failed") == 36);
  CHECK(count(*index, "name ~ \"dig*\"") == 20);
  CHECK(count(*index, "name !~ dig*") == 20);
  CHECK(count(*index, "name = digits-3") == 1);
  CHECK(count(*index, "tags.team = vision and base_name = digits") == 4);
  CHECK(count(*index, "tags.team != vision") == 32);
  CHECK(count(*index, "tags.nobody != vision") == 40);
  CHECK(count(*index, "parameters.lr < 1") == 10);
  CHECK(count(*index, "lr < 1") == 10);
  CHECK(count(*index, "parameters.amp = true") == 14);
  CHECK(count(*index, "parameters.opt = \"sgd\" or parameters.opt = 'x'") == 10);
  CHECK(count(*index, "metrics.accuracy = null") == 11);  // ten without, one NaN
  CHECK(count(*index, "metrics.accuracy != null") == 29);
  CHECK(count(*index, "accuracy > 0.75") == 7);  // 0.8 and 0.9 three times each, infinity
  CHECK(count(*index, "metrics.accuracy.best > 0.75 and state = succeeded") == 7);
  CHECK(count(*index, "not accuracy > 0.75") == 33);
  CHECK(count(*index, "created > 1h") == 40);
  CHECK(count(*index, "created < 1h") == 0);
  CHECK(count(*index, "exit_code = 1") == 4);
  CHECK(count(*index, "metrics.nothing > 1") == 0);
}

TEST_CASE("fields and values that make no sense are refused with a hint") {
  const test::TempDir folder;
  const archive::Store store = filled(folder.path());
  auto index = Index::open(store, Mode::read).value();
  REQUIRE(index->refresh(50ms).has_value());
  const auto error = [&](const std::string& where) {
    auto page = index->query({.where = where});
    REQUIRE_FALSE(page.has_value());
    CHECK(page.error().code == Errc::invalid);
    return page.error();
  };
  CHECK(error("acuracy > 1").hint == "did you mean \"accuracy\"?");
  CHECK(error("x = 1 and stat = failed").at->column == 1);
  CHECK(error("state = faild").hint == "did you mean failed?");
  CHECK(error("exit_code = one").at->column == 13);
  CHECK(error("metrics.accuracy ~ \"a*\"").message.starts_with("~ compares text"));
  CHECK(error("created > yesterday").message.starts_with("expected a time"));
  CHECK_FALSE(index->query({.sort = {"-acuracy"}}).has_value());
  CHECK(index->query({.where = "metrics.acuracy > 1"}).value().notes.at(0) ==
        "no run has a metric \"acuracy\", did you mean \"accuracy\"?");
  // Values are bound, never part of the SQL.
  CHECK(count(*index, "name = \"x' OR '1'='1\"") == 0);
}

TEST_CASE("pages have no gaps and no repeats, whatever they are sorted by") {
  const test::TempDir folder;
  const archive::Store store = filled(folder.path());
  auto index = Index::open(store, Mode::read).value();
  REQUIRE(index->refresh(50ms).has_value());
  const std::vector<std::vector<std::string>> sorts = {{},
                                                       {"created"},
                                                       {"-created"},
                                                       {"accuracy"},
                                                       {"-accuracy"},
                                                       {"-metrics.accuracy.best"},
                                                       {"metrics.accuracy.min"},
                                                       {"lr"},
                                                       {"-parameters.opt"},
                                                       {"state", "-accuracy"},
                                                       {"-exit_code", "name"},
                                                       {"started"},
                                                       {"-duration"},
                                                       {"-accuracy", "lr"},
                                                       {"tags.team", "-lr"}};
  for (const auto& sort : sorts) {
    for (const std::string where : {"", "state = succeeded", "not accuracy < 0.2"}) {
      for (const std::size_t limit : {1U, 3U, 7U, 40U}) {
        INFO((sort.empty() ? "" : sort.front()) << " / " << where << " / " << limit);
        index::RunQuery query{.where = where, .sort = sort, .limit = 1000};
        const auto whole = names(index->query(query).value());
        std::vector<std::string> paged;
        query.limit = limit;
        for (;;) {
          const auto page = index->query(query);
          if (!page) FAIL(page.error().message);
          const auto some = names(*page);
          paged.insert(paged.end(), some.begin(), some.end());
          if (!page->next) break;
          query.after = *page->next;
          REQUIRE(paged.size() <= 40);
        }
        CHECK(paged == whole);
        CHECK(std::set<std::string>(paged.begin(), paged.end()).size() == paged.size());
      }
    }
  }
}

TEST_CASE("a page token goes on after new runs and belongs to its query") {
  const test::TempDir folder;
  const archive::Store store = filled(folder.path());
  std::string next;
  std::vector<std::string> before;
  {
    auto index = Index::open(store, Mode::read).value();
    REQUIRE(index->refresh(50ms).has_value());
    const auto page = index->query({.limit = 10}).value();
    before = names(page);
    next = page.next.value();
    CHECK_FALSE(index->query({.where = "state = failed", .limit = 10, .after = next}).has_value());
    CHECK_FALSE(index->query({.after = "nonsense"}).has_value());
    CHECK_FALSE(index->query({.after = "00"}).has_value());
    CHECK(index->query({.limit = 10, .count_more = true}).value().more == 30);
  }
  (void)make_run(store);
  auto index = Index::open(store, Mode::read).value();
  REQUIRE(index->rebuild().has_value());
  const auto after = names(index->query({.limit = 100, .after = next}).value());
  CHECK(after.size() == 30);
  for (const std::string& name : after) CHECK(std::find(before.begin(), before.end(), name) == before.end());
}

TEST_CASE("metrics sort from the highest, rows without a value last") {
  const test::TempDir folder;
  const archive::Store store = filled(folder.path());
  auto index = Index::open(store, Mode::read).value();
  REQUIRE(index->refresh(50ms).has_value());
  const auto page =
      index->query({.sort = {"-accuracy"}, .columns = {"accuracy", "parameters.lr", "state"}, .limit = 1000}).value();
  REQUIRE(page.rows.size() == 40);
  CHECK(std::get<double>(page.rows[0].values[0]) == std::numeric_limits<double>::infinity());
  CHECK(std::get<double>(page.rows[1].values[0]) == Approx(0.9));
  for (std::size_t i = 29; i < 40; ++i) CHECK(std::holds_alternative<std::monostate>(page.rows[i].values[0]));
}

}  // namespace
