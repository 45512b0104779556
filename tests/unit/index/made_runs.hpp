// SPDX-License-Identifier: Apache-2.0
// Run folders as a runner leaves them, for tests of the index.
#pragma once

#include <fcntl.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/ulid.hpp"
#include "format/event.hpp"
#include "format/metric.hpp"
#include "format/plan.hpp"
#include "support/catch.hpp"

namespace trainctl::test {

struct MadeRun {
  std::string base_name = "digits";
  Json parameters = Json::object();
  Json tags = Json::object();
  std::string goal = "maximize";
};

/// A run that was created but never started. Returns its id.
inline std::string make_run(const archive::Store& store, const MadeRun& made = {}) {
  format::Plan plan;
  plan.id = base::new_ulid();
  plan.name = store.claim_name(made.base_name, plan.id).value();
  plan.created = base::format_utc(base::wall_now());
  plan.command.argv = {"true"};
  plan.parameters = made.parameters;
  plan.tags = made.tags;
  plan.metrics.primary = "accuracy";
  plan.metrics.goal = made.goal;
  // As create_run, without what makes it durable: hundreds of them would be slow.
  const format::RunPaths run = store.run(plan.id);
  REQUIRE(base::make_directories(run.clients()).has_value());
  auto writer = format::EventWriter::create(run.client(plan.id));
  REQUIRE(writer.has_value());
  REQUIRE(writer->append("intent", {{"client", "0.1.0"}}).has_value());
  REQUIRE(base::write_file_atomic(run.plan(), base::dump_json(format::to_json(plan)) + "\n").has_value());
  return plan.id;
}

inline void add_event(const archive::Store& store, const std::string& id, std::string_view type, const Json& fields,
                      int attempt = 1) {
  const auto folder = store.run(id).attempt(attempt);
  REQUIRE(base::make_directories(folder.metrics()).has_value());
  auto writer = format::EventWriter::open(folder.events());
  REQUIRE(writer.has_value());
  REQUIRE(writer->append(type, fields).has_value());
}

inline void add_metric(const archive::Store& store, const std::string& id, const std::string& name, double value,
                       int step = 0, int attempt = 1) {
  format::MetricPoint point;
  point.t = base::wall_now();
  point.step = step;
  point.name = name;
  point.value = value;
  std::string line;
  format::encode_metric(point, line);
  const auto folder = store.run(id).attempt(attempt).metrics();
  REQUIRE(base::make_directories(folder).has_value());
  auto file = base::open_file(folder / "script-r0.jsonl", O_WRONLY | O_APPEND | O_CREAT);
  REQUIRE(file.has_value());
  REQUIRE(base::write_all(file->get(), line).has_value());
}

inline void end_run(const archive::Store& store, const std::string& id, std::string_view state = "succeeded",
                    int attempt = 1) {
  add_event(store, id, "end",
            {{"state", state}, {"cause", "exit"}, {"exit_code", state == "succeeded" ? 0 : 1}, {"next", nullptr}},
            attempt);
}

}  // namespace trainctl::test
