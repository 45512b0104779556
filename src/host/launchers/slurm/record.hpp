// SPDX-License-Identifier: Apache-2.0
// slurm/events.jsonl of a run folder: what the submit host knows of the run's jobs. Written only by who holds
// slurm/lock. Types of lines:
//   phase   {message}            what is done before there is a job
//   intent  {}                   sbatch is about to be called; durable
//   job     {job}                it gave us this job; durable
//   refused {message}            it said no, or did not hear it
//   gone    {job}                the controller has forgotten the job, and the run has no end
//   seen    {job}                … but then it knew it again
//   again   {}                   the job is over and the run goes on: another one may be submitted
#pragma once

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "host/launchers/slurm/batch.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {

/// The phase of a submission whose controller is silent.
inline constexpr const char* kSilentController = "waits for Slurm's controller, which does not answer; trying again";

/// The fold of the lines.
struct Record {
  std::vector<std::string> jobs = {};            ///< every one we know, the last one last
  bool intent_open = false;                      ///< sbatch was called and nobody wrote what it said
  std::uint64_t intended = 0;                    ///< … when, by the wall clock of this host, in milliseconds
  bool again = false;                            ///< the last job does not count any more
  std::string phase = {};                        ///< of the last `phase`
  std::string gone = {};                         ///< the job that the controller has forgotten
  std::optional<std::uint64_t> gone_since = {};  ///< … since when, by the wall clock of this host, in milliseconds
  std::uint64_t submitted = 0;                   ///< the last job, by the same clock
  /// The job that counts now; empty = none.
  [[nodiscard]] std::string job() const { return jobs.empty() || again ? std::string() : jobs.back(); }
  [[nodiscard]] bool knows(const std::string& job) const {
    return std::find(jobs.begin(), jobs.end(), job) != jobs.end();
  }
};

Result<Record> read_record(const format::RunPaths& run);

/// When a line of events was written, by the wall clock of who did, in milliseconds; 0 = unknown.
std::uint64_t written_ms(const Json& line);

/// The right to submit, to end and to write the record, on this host.
class Hold {
 public:
  /// Empty when another process has it.
  static Result<std::optional<Hold>> try_take(const format::RunPaths& run);
  Result<> note(std::string_view type, const Json& fields = Json::object());
  Result<> note_durable(std::string_view type, const Json& fields = Json::object());

 private:
  Hold(base::FileLock lock, format::EventWriter writer) : lock_(std::move(lock)), writer_(std::move(writer)) {}
  base::FileLock lock_;
  format::EventWriter writer_;
};

/// Does a process of this host hold it?
bool is_held(const format::RunPaths& run);

}  // namespace trainctl::host::slurm
