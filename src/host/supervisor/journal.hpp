// SPDX-License-Identifier: Apache-2.0
// attempts/<n>/events.jsonl as its only writer sees it. Event types and their fields:
//   attempt  {number, runner, pid, starttime, machine, boot, pidns, host, slurm?: {job, nodes}, adopted}
//            one a supervisor that took the attempt; `slurm` inside a job
//   prepared {}                                     work/ is complete; from here on a waiter may exist
//   state    {state, message}
//   environment {python, key, version, tool, built}  what the ranks will use
//   container {engine, program, image, id, digest}   the image the ranks start from
//   gang     {rendezvous}                           of a run on several machines: where the ranks meet; they may start
//   verdict  {the fields of end}                    … what the end will be, while the nodes complete their records
//   control  {request, result}                      acknowledges control/<request>.json
//   warning  {message}
//   end      {state, cause, exit_code, signal, rank, on_node?, message, logs: {"std.log": bytes}, memory_peak,
//             outputs?: {files, bytes}, next: "retry"|null}
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "format/event.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "host/container/image.hpp"
#include "host/distribution/rank_variables.hpp"
#include "host/environment/environment.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// The last event of an attempt.
struct AttemptEnd {
  format::State state = format::State::failed;
  format::Cause cause = format::Cause::exit;
  std::optional<int> exit_code = {};
  std::string signal = {};
  std::optional<int> rank = {};  ///< the rank that decided
  std::optional<int> node = {};  ///< of a run on several machines: where
  std::string message = {};
  bool retry = false;
  std::uint64_t memory_peak = 0;                   ///< bytes; 0 = unknown
  std::optional<std::uint64_t> output_files = {};  ///< what outputs.jsonl lists; empty: there is none
  std::uint64_t output_bytes = 0;
};

class Journal {
 public:
  /// Opens or creates the file, folds what is there and appends the `attempt` event.
  static Result<Journal> open(const format::AttemptPaths& attempt, int number);

  [[nodiscard]] format::State state() const { return state_; }
  [[nodiscard]] bool prepared() const { return prepared_; }
  /// An earlier supervisor wrote under another boot: what was not synced then may be lost.
  [[nodiscard]] bool rebooted() const { return rebooted_; }
  [[nodiscard]] std::optional<std::uint64_t> running_since() const { return running_since_; }
  /// The stop that an earlier supervisor had begun, from its `stopping` event.
  [[nodiscard]] std::optional<format::Cause> stopping_cause() const { return stopping_cause_; }
  [[nodiscard]] std::uint64_t stopping_since() const { return stopping_since_; }
  /// What an earlier supervisor had noted.
  [[nodiscard]] const std::optional<Rendezvous>& rendezvous() const { return rendezvous_; }
  [[nodiscard]] const std::optional<AttemptEnd>& verdict() const { return verdict_; }

  /// A transition the table forbids is not written. Errors of these four are warnings of ours: the run goes on.
  void enter(format::State state, const std::string& message = {}, const Json& more = Json::object());
  void mark_prepared();
  /// `queued` with its reason; again when the reason changes.
  void queued(const std::string& reason);
  void acknowledge(const std::string& request, const std::string& result);
  void warn(const std::string& message);
  void note_environment(const BuiltEnvironment& environment);
  void note_container(const ContainerImage& image);
  void note_rendezvous(const Rendezvous& rendezvous);
  /// Durable: an adopter goes on from there.
  Result<> note_verdict(const AttemptEnd& end);

  /// Durable; the space was reserved when the file was created.
  Result<> end(const AttemptEnd& end, const std::map<std::string, std::uint64_t>& log_sizes);

 private:
  explicit Journal(format::EventWriter writer) : writer_(std::move(writer)) {}
  void read_back(const Json& line, const std::string& boot);
  void read_back_gang(const Json& line, const std::string& boot);
  format::EventWriter writer_;
  format::State state_ = format::State::created;
  bool prepared_ = false;
  bool rebooted_ = false;
  std::optional<std::uint64_t> running_since_;
  std::optional<format::Cause> stopping_cause_;
  std::uint64_t stopping_since_ = 0;
  std::optional<Rendezvous> rendezvous_;
  std::optional<AttemptEnd> verdict_;
  int warnings_ = 0;
};

}  // namespace trainctl::host
