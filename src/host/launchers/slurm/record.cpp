// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/record.hpp"

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "host/launchers/slurm/batch.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {
namespace {

constexpr int kLookMs = 300;  // is_held() takes it for a moment

std::string text_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
}

void fold_line(const Json& line, Record& record) {
  const std::string type = text_of(line, "type");
  if (type == "phase") record.phase = text_of(line, "message");
  if (type == "intent") {
    record.intent_open = true;
    record.intended = written_ms(line);
  }
  if (type == "refused") record.intent_open = false;
  if (type == "again") {
    record.again = true;
    record.gone_since.reset();
  }
  if (type == "seen") record.gone_since.reset();
  if (type == "gone" && (!record.gone_since || record.gone != text_of(line, "job"))) {
    record.gone = text_of(line, "job");
    record.gone_since = written_ms(line);
  }
  if (type != "job") return;
  record.jobs.push_back(text_of(line, "job"));
  record.submitted = written_ms(line);
  record.intent_open = false;
  record.again = false;
  record.gone_since.reset();
}

}  // namespace

std::uint64_t written_ms(const Json& line) {
  const auto time = base::parse_utc(text_of(line, "t"));
  if (!time) return 0;
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(time->time_since_epoch()).count());
}

Result<Record> read_record(const format::RunPaths& run) {
  TRY_ASSIGN(const auto lines, format::read_lines(JobPaths(run).record()));
  Record record;
  for (const Json& line : lines) fold_line(line, record);
  return record;
}

Result<std::optional<Hold>> Hold::try_take(const format::RunPaths& run) {
  const JobPaths paths(run);
  TRY(base::make_directories(paths.root));
  auto lock = base::FileLock::acquire(paths.lock(), kLookMs);
  if (!lock && lock.error().code == Errc::timeout) return std::nullopt;
  if (!lock) return tl::make_unexpected(std::move(lock).error());
  TRY_ASSIGN(auto writer, format::EventWriter::open(paths.record()));
  return Hold(std::move(*lock), std::move(writer));
}

Result<> Hold::note(std::string_view type, const Json& fields) {
  return writer_.append(type, fields);
}

Result<> Hold::note_durable(std::string_view type, const Json& fields) {
  return writer_.append_durable(type, fields);
}

bool is_held(const format::RunPaths& run) {
  if (!base::exists(JobPaths(run).lock())) return false;
  const auto lock = base::FileLock::try_acquire(JobPaths(run).lock());
  return lock && !*lock;
}

}  // namespace trainctl::host::slurm
