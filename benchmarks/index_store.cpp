// SPDX-License-Identifier: Apache-2.0
// Times of the index on a store: index_store HOME [rebuild]. And points/s of taking in metrics: index_store --ingest.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>

#include "base/file.hpp"
#include "format/metric.hpp"
#include "index/index.hpp"
#include "index/metric_summary.hpp"

namespace {

using namespace trainctl;

double ms_of(auto work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

int ingest() {
  constexpr int kPoints = 2'000'000;
  const auto folder = std::filesystem::temp_directory_path() / "trainctl-ingest";
  const format::AttemptPaths attempt{folder};
  if (!base::make_directories(attempt.metrics())) return 1;
  std::string text;
  for (int i = 0; i < kPoints; ++i) {
    const char* name = i % 4 == 0   ? "loss"
                       : i % 4 == 1 ? "accuracy"
                       : i % 4 == 2 ? "validation/accuracy"
                                    : "learning_rate";
    format::encode_metric({.t = base::wall_now(), .step = i, .name = name, .value = i * 0.123456789}, text);
  }
  if (!base::write_file_atomic(attempt.metrics() / "script-r0.jsonl", text)) return 1;
  index::MetricSummaries summaries;
  bool good = false;
  const double ms = ms_of([&] { good = summaries.read_growth(attempt).has_value(); });
  std::printf("taking in %d points: %.0f ms, %.0f points/s\n", kPoints, ms, kPoints / ms * 1000);
  (void)base::remove_tree(folder);
  return good ? 0 : 1;
}

int query(const archive::Store& store, const char* what, const index::RunQuery& query) {
  std::size_t rows = 0;
  std::string problem;
  double refreshed = 0;
  const double ms = ms_of([&] {
    auto index = index::Index::open(store, index::Mode::read);
    if (!index) return;
    refreshed = ms_of([&] { (void)(*index)->refresh(std::chrono::milliseconds(50)); });
    const auto page = (*index)->query(query);
    rows = page ? page->rows.size() : 0;
    if (!page) problem = page.error().message;
  });
  std::printf("%-72s %7.1f ms (refresh %.1f), %zu rows %s\n", what, ms, refreshed, rows, problem.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  if (std::string(argv[1]) == "--ingest") return ingest();
  const auto store = archive::Store::open(std::filesystem::path(argv[1]));
  if (!store) return 1;
  if (argc > 2) {
    const double ms = ms_of([&] { (void)index::Index::open(*store, index::Mode::exclusive).value()->rebuild(); });
    std::printf("rebuild %.0f ms\n", ms);
  }
  query(*store, "newest 20", {.limit = 20, .count_more = true});
  query(*store, "accuracy > 0.9 and lr <= 0.1 and succeeded, by -accuracy",
        {.where = "metrics.accuracy > 0.9 and parameters.lr <= 0.1 and state = succeeded",
         .sort = {"-accuracy"},
         .limit = 100});
  query(*store, "by -accuracy", {.sort = {"-accuracy"}, .limit = 100});
  query(*store, "by loss, failed only", {.where = "state = failed", .sort = {"loss"}, .limit = 100});
  query(*store, "team = vision and accuracy < 0.2, newest",
        {.where = "tags.team = vision and accuracy < 0.2", .limit = 100});
  query(*store, "accuracy > 0.999999 by -accuracy",
        {.where = "accuracy > 0.999999", .sort = {"-accuracy"}, .limit = 100});
  query(*store, "state = failed and accuracy > 0.97 by lr",
        {.where = "state = failed and accuracy > 0.97", .sort = {"lr"}, .limit = 100});
  query(*store, "name ~ dig* by -parameters.lr",
        {.where = "name ~ \"dig*\"", .sort = {"-parameters.lr"}, .limit = 100});
  query(*store, "nothing matches: lr < 0 or name = x", {.where = "lr < 0 or name = x", .limit = 100});
  query(*store, "by duration", {.sort = {"-duration"}, .limit = 100});
  return 0;
}
