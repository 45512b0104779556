// SPDX-License-Identifier: Apache-2.0
#include "index/run_writer.hpp"

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.hpp"
#include "base/number.hpp"
#include "format/goal.hpp"
#include "format/metric_summary.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "index/run_record.hpp"
#include "index/sqlite.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {
namespace {

constexpr const char* kRun =
    "INSERT INTO runs(key,id,visible,terminal,name,base_name,state,cause,exit_code,experiment,target,user,host,"
    "client_version,parent,run_group,created,started,ended,attempts,signature,took) "
    "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22) ON CONFLICT(key) DO UPDATE "
    "SET "
    "visible=?3,terminal=?4,name=?5,base_name=?6,state=?7,cause=?8,exit_code=?9,experiment=?10,target=?11,user=?12,"
    "host=?13,client_version=?14,parent=?15,run_group=?16,created=?17,started=?18,ended=?19,attempts=?20,signature=?21,"
    "took=?22";
// What the script logged is added to parameters and tags: they are written from the plan once.
constexpr const char* kDetails =
    "INSERT INTO details VALUES(?1,?2,?3,?4,?5,?6) ON CONFLICT(run) DO UPDATE SET message=?2,primary_metric=?5,goal=?6";
constexpr const char* kLogged = "UPDATE details SET parameters=?2,tags=?3 WHERE run=?1";
constexpr const char* kFindLogged = "SELECT parameters,tags FROM details WHERE run=?1";
constexpr const char* kFindName = "SELECT key FROM names WHERE name=?1";
constexpr const char* kAddName = "INSERT INTO names(name) VALUES(?1) RETURNING key";
constexpr const char* kMetric = "INSERT OR REPLACE INTO metrics VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)";
constexpr const char* kLoadMetrics =
    "SELECT n.name,m.last,m.lowest,m.highest,m.step,m.points,m.last_at,m.source,m.rank FROM metrics m "
    "JOIN names n ON n.key=m.name WHERE m.run=?1";
constexpr const char* kLoadFiles = "SELECT path,ingested FROM files WHERE run=?1";
constexpr const char* kFile = "INSERT OR REPLACE INTO files VALUES(?1,?2,?3)";
constexpr const char* kParameter = "INSERT OR REPLACE INTO parameters VALUES(?1,?2,?3,?4)";
constexpr const char* kTag = "INSERT OR REPLACE INTO tags VALUES(?1,?2,?3)";

void bind_text(Statement& statement, int at, const std::string& text) {
  if (text.empty()) {
    statement.bind_null(at);
  } else {
    statement.bind(at, std::string_view(text));
  }
}
Json object_of(std::string_view text) {
  auto json = base::parse_json(text);
  return json && json->is_object() ? std::move(*json) : Json::object();
}
void bind_number(Statement& statement, int at, const std::optional<std::int64_t>& number) {
  if (number) {
    statement.bind(at, *number);
  } else {
    statement.bind_null(at);
  }
}

/// A number as it was typed (`run train.py --lr 1e-4`, or what MLflow logs) is one, too: the script has the text,
/// people compare.
std::optional<double> number_of(const Json& value) {
  if (value.is_number()) return value.get<double>();
  return value.is_string() ? base::parse_number(value.get_ref<const std::string&>()) : std::nullopt;
}

}  // namespace

std::string scalar_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : base::dump_json(value);
}

Result<RunWriter> RunWriter::make(Database& database) {
  return RunWriter(database);
}

Result<Statement*> RunWriter::statement(const char* sql) {
  const auto found = statements_.find(sql);
  if (found != statements_.end()) {
    found->second.reset();
    return &found->second;
  }
  TRY_ASSIGN(Statement made, database_->prepare(std::string_view(sql)));
  return &statements_.emplace(sql, std::move(made)).first->second;
}

Result<std::int64_t> RunWriter::name_key(std::string_view name) {
  const std::string text(name);
  if (const auto known = names_.find(text); known != names_.end()) return known->second;
  std::int64_t key = 0;
  {
    TRY_ASSIGN(Statement * find, statement(kFindName));
    TRY_ASSIGN(const bool there, find->bind(1, name).step());
    if (there) key = find->integer(0);
    find->reset();
  }
  if (key == 0) {
    TRY_ASSIGN(Statement * add, statement(kAddName));
    TRY(add->bind(1, name).step());
    key = add->integer(0);
    add->reset();
  }
  names_.emplace(text, key);
  return key;
}

Result<std::int64_t> RunWriter::key_of(const std::string& id) {
  // Two runs may share time and 21 random bits: the later one takes the next free key.
  for (std::int64_t key = run_key(id);; ++key) {
    TRY_ASSIGN(Statement * find, statement("SELECT id FROM runs WHERE key=?1"));
    TRY_ASSIGN(const bool taken, find->bind(1, key).step());
    const bool ours = taken && find->text(0) == id;
    find->reset();
    if (!taken || ours) return key;
  }
}

Result<> RunWriter::ingest(const format::RunPaths& run, std::int64_t known_key, int known_attempt) {
  std::int64_t key = known_key;
  // Taken before the files are read: what grows in between is seen again next time.
  std::string signature = run_signature(run, known_attempt);
  const RunRecord record = read_run_record(run);
  if (record.attempts != known_attempt) signature.clear();
  if (key == 0) {
    TRY_ASSIGN(key, key_of(record.id));
  }
  TRY(write_run(key, record, signature));
  if (!record.visible) return {};
  TRY(write_details(key, record));
  if (known_attempt == 0) {
    TRY(write_parameters(key, record.parameters));
    TRY(write_tags(key, record.tags));
  }
  // After the fold: a terminal state is then only stored with all of its metrics.
  if (record.attempts == 0) return {};
  const bool from_start = record.attempts != known_attempt;
  auto done = ingest_metrics(key, run.attempt(record.attempts), record, from_start && known_attempt != 0);
  if (!done && done.error().code == Errc::invalid) {
    return ingest_metrics(key, run.attempt(record.attempts), record, true);
  }
  return done;
}

Result<> RunWriter::write_run(std::int64_t key, const RunRecord& record, const std::string& signature) {
  TRY_ASSIGN(Statement * run, statement(kRun));
  run->bind(1, key).bind(2, std::string_view(record.id));
  run->bind(3, std::int64_t{record.visible ? 1 : 0}).bind(4, std::int64_t{record.terminal ? 1 : 0});
  run->bind(5, std::string_view(record.name)).bind(6, std::string_view(record.base_name));
  run->bind(7, format::to_string(record.state));
  // Bound texts are not copied: they must live until the statement has run.
  const std::string cause = record.cause ? std::string(format::to_string(*record.cause)) : std::string();
  bind_text(*run, 8, cause);
  bind_number(*run, 9, record.exit_code);
  bind_text(*run, 10, record.experiment);
  bind_text(*run, 11, record.target);
  bind_text(*run, 12, record.user);
  bind_text(*run, 13, record.host);
  bind_text(*run, 14, record.client_version);
  bind_text(*run, 15, record.parent);
  bind_text(*run, 16, record.group);
  run->bind(17, record.created);
  bind_number(*run, 18, record.started);
  bind_number(*run, 19, record.ended);
  run->bind(20, std::int64_t{record.attempts});
  run->bind(21, record.terminal ? std::string_view() : std::string_view(signature));
  bind_number(*run, 22, record.took);
  return run->run();
}

Result<> RunWriter::write_details(std::int64_t key, const RunRecord& record) {
  TRY_ASSIGN(Statement * details, statement(kDetails));
  const std::string parameters = base::dump_json(record.parameters);
  const std::string tags = base::dump_json(record.tags);
  details->bind(1, key);
  bind_text(*details, 2, record.message);
  details->bind(3, std::string_view(parameters)).bind(4, std::string_view(tags));
  bind_text(*details, 5, record.primary_metric);
  bind_text(*details, 6, record.goal);
  return details->run();
}

Result<> RunWriter::write_parameters(std::int64_t key, const Json& parameters) {
  for (const auto& item : parameters.items()) {
    const Json& value = item.value();
    if (value.is_null()) continue;
    TRY_ASSIGN(const std::int64_t name, name_key(item.key()));
    const std::string text = scalar_text(value);
    TRY_ASSIGN(Statement * row, statement(kParameter));
    row->bind(1, key).bind(2, name).bind(4, std::string_view(text));
    if (const auto number = number_of(value)) {
      row->bind(3, *number);
    } else {
      row->bind_null(3);
    }
    TRY(row->run());
  }
  return {};
}

Result<> RunWriter::write_tags(std::int64_t key, const Json& tags) {
  for (const auto& item : tags.items()) {
    TRY_ASSIGN(const std::int64_t name, name_key(item.key()));
    const std::string text = scalar_text(item.value());
    TRY_ASSIGN(Statement * row, statement(kTag));
    TRY(row->bind(1, key).bind(2, name).bind(3, std::string_view(text)).run());
  }
  return {};
}

Result<> RunWriter::ingest_metrics(std::int64_t key, const format::AttemptPaths& attempt, const RunRecord& record,
                                   bool from_start) {
  format::MetricSummaries summaries;
  if (from_start) {
    TRY(forget_metrics(key));
  } else {
    TRY(load_metrics(key, summaries));
  }
  TRY_ASSIGN(const bool grew, summaries.read_growth(attempt));
  if (!grew) return {};
  TRY(write_logged(key, summaries, record));
  return write_metrics(key, summaries, record);
}

/// The parameters and tags that the script logged, beside those of the plan.
Result<> RunWriter::write_logged(std::int64_t key, const format::MetricSummaries& summaries, const RunRecord& record) {
  if (summaries.parameters.empty() && summaries.tags.empty()) return {};
  TRY_ASSIGN(Statement * found, statement(kFindLogged));
  TRY_ASSIGN(const bool there, found->bind(1, key).step());
  Json parameters = there ? object_of(found->text(0)) : Json::object();
  Json tags = there ? object_of(found->text(1)) : Json::object();
  found->reset();
  // Once more the plan: an earlier value of the script gives way to a later one, a value of the plan does not.
  for (const auto& item : summaries.parameters.items()) parameters[item.key()] = item.value();
  for (const auto& item : summaries.tags.items()) tags[item.key()] = item.value();
  for (const auto& item : record.parameters.items()) parameters[item.key()] = item.value();
  for (const auto& item : record.tags.items()) tags[item.key()] = item.value();
  TRY(write_parameters(key, parameters));
  TRY(write_tags(key, tags));
  const std::string parameters_text = base::dump_json(parameters);
  const std::string tags_text = base::dump_json(tags);
  TRY_ASSIGN(Statement * row, statement(kLogged));
  return row->bind(1, key).bind(2, std::string_view(parameters_text)).bind(3, std::string_view(tags_text)).run();
}

Result<> RunWriter::load_metrics(std::int64_t key, format::MetricSummaries& summaries) {
  TRY_ASSIGN(Statement * files, statement(kLoadFiles));
  files->bind(1, key);
  for (;;) {
    TRY_ASSIGN(const bool row, files->step());
    if (!row) break;
    summaries.offsets[std::string(files->text(0))] = static_cast<std::uint64_t>(files->integer(1));
  }
  if (summaries.offsets.empty()) return {};
  TRY_ASSIGN(Statement * metrics, statement(kLoadMetrics));
  metrics->bind(1, key);
  for (;;) {
    TRY_ASSIGN(const bool row, metrics->step());
    if (!row) break;
    format::MetricSummary& summary = summaries.metrics[std::string(metrics->text(0))];
    summary.last = metrics->real(1);
    summary.lowest = metrics->real(2);
    summary.highest = metrics->real(3);
    if (!metrics->is_null(4)) summary.step = metrics->integer(4);
    summary.points = static_cast<std::uint64_t>(metrics->integer(5));
    summary.last_at = metrics->integer(6);
    summary.source = metrics->text(7);
    summary.rank = static_cast<int>(metrics->integer(8));
  }
  return {};
}

Result<> RunWriter::write_metrics(std::int64_t key, const format::MetricSummaries& summaries, const RunRecord& record) {
  for (const auto& [name, summary] : summaries.metrics) {
    TRY_ASSIGN(const std::int64_t name_of, name_key(name));
    TRY_ASSIGN(Statement * row, statement(kMetric));
    row->bind(1, key).bind(2, name_of);
    const double best = summary.best(format::goal_of(name, record.primary_metric, record.goal));
    row->bind(3, summary.last).bind(4, best).bind(5, summary.lowest).bind(6, summary.highest);
    bind_number(*row, 7, summary.step);
    row->bind(8, static_cast<std::int64_t>(summary.points)).bind(9, summary.last_at);
    row->bind(10, std::string_view(summary.source)).bind(11, std::int64_t{summary.rank});
    TRY(row->run());
  }
  for (const auto& [path, offset] : summaries.offsets) {
    TRY_ASSIGN(Statement * row, statement(kFile));
    TRY(row->bind(1, key).bind(2, std::string_view(path)).bind(3, static_cast<std::int64_t>(offset)).run());
  }
  return {};
}

Result<> RunWriter::forget_metrics(std::int64_t key) {
  for (const char* sql : {"DELETE FROM metrics WHERE run=?1", "DELETE FROM files WHERE run=?1"}) {
    TRY_ASSIGN(Statement * row, statement(sql));
    TRY(row->bind(1, key).run());
  }
  return {};
}

Result<> RunWriter::remove(std::int64_t key) {
  TRY(forget_metrics(key));
  for (const char* sql : {"DELETE FROM runs WHERE key=?1", "DELETE FROM details WHERE run=?1",
                          "DELETE FROM parameters WHERE run=?1", "DELETE FROM tags WHERE run=?1"}) {
    TRY_ASSIGN(Statement * row, statement(sql));
    TRY(row->bind(1, key).run());
  }
  return {};
}

}  // namespace trainctl::index
