// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/journal.hpp"

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "host/container/image.hpp"
#include "host/distribution/rank_variables.hpp"
#include "host/environment/environment.hpp"
#include "host/gang/messages.hpp"
#include "trainctl/result.hpp"
#include "trainctl/version.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kReserved = 16384;  // the end, its message and some warnings
constexpr int kMaxWarnings = 50;            // they must not eat the space of the end
constexpr std::size_t kMaxMessage = 2000;

std::string text_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::string shortened(const std::string& text) {
  return text.size() <= kMaxMessage ? text : text.substr(0, kMaxMessage) + "…";
}

Json to_json(const AttemptEnd& end) {
  Json json = {{"state", format::to_string(end.state)},
               {"cause", format::to_string(end.cause)},
               {"exit_code", end.exit_code ? Json(*end.exit_code) : Json(nullptr)},
               {"signal", end.signal.empty() ? Json(nullptr) : Json(end.signal)},
               {"rank", end.rank ? Json(*end.rank) : Json(nullptr)},
               {"message", shortened(end.message)},
               {"memory_peak", end.memory_peak > 0 ? Json(end.memory_peak) : Json(nullptr)},
               {"next", end.retry ? Json("retry") : Json(nullptr)}};
  if (end.node) json["on_node"] = *end.node;
  return json;
}

std::optional<int> number_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<int>();
}

std::optional<AttemptEnd> end_from_json(const Json& line) {
  const auto state = format::parse_state(text_of(line, "state"));
  const auto cause = format::parse_cause(text_of(line, "cause"));
  if (!state || !cause) return std::nullopt;
  AttemptEnd end{.state = *state, .cause = *cause, .exit_code = number_of(line, "exit_code")};
  end.signal = text_of(line, "signal");
  end.rank = number_of(line, "rank");
  end.node = number_of(line, "on_node");
  end.message = text_of(line, "message");
  end.retry = text_of(line, "next") == "retry";
  return end;
}

}  // namespace

Result<Journal> Journal::open(const format::AttemptPaths& attempt, int number) {
  TRY_ASSIGN(const auto lines, format::read_lines(attempt.events()));
  TRY_ASSIGN(auto writer, format::EventWriter::open(attempt.events(), attempt.own_node));
  Journal journal(std::move(writer));
  const std::string boot = base::boot_id();
  for (const Json& line : lines) {
    journal.read_back(line, boot);
    journal.read_back_gang(line, boot);
  }
  journal.writer_.reserve(kReserved);
  Json fields = {{"number", number},
                 {"runner", version()},
                 {"pid", ::getpid()},
                 {"starttime", base::process_start_time(::getpid()).value_or(0)},
                 {"machine", base::machine_id()},
                 {"pidns", base::pid_namespace()},
                 {"host", base::host_name()},
                 {"adopted", !lines.empty()}};
  if (const auto job = base::get_env("SLURM_JOB_ID"))
    fields["slurm"] = {{"job", *job}, {"nodes", base::get_env("SLURM_JOB_NODELIST").value_or("")}};
  TRY(journal.writer_.append("attempt", fields));
  return journal;
}

/// What supervisors of several machines note.
void Journal::read_back_gang(const Json& line, const std::string& boot) {
  const std::string type = text_of(line, "type");
  if (type == "verdict") verdict_ = end_from_json(line);
  if (type == "gang" && text_of(line, "boot") == boot && line.contains("rendezvous"))
    rendezvous_ = rendezvous_from_json(line["rendezvous"]);
}

void Journal::read_back(const Json& line, const std::string& boot) {
  const std::string type = text_of(line, "type");
  const bool same_boot = text_of(line, "boot") == boot;
  const auto mono = line.find("mono_ns");
  const std::uint64_t at = mono != line.end() && mono->is_number_unsigned() ? mono->get<std::uint64_t>() : 0;
  rebooted_ = rebooted_ || !same_boot;
  if (type == "prepared") prepared_ = same_boot;
  if (type == "warning") ++warnings_;
  if (type != "state") return;
  const auto state = format::parse_state(text_of(line, "state"));
  if (!state || format::is_terminal(*state)) return;
  state_ = *state;
  if (*state == format::State::running && !running_since_ && same_boot) running_since_ = at;
  if (*state == format::State::stopping) {
    stopping_cause_ = format::parse_cause(text_of(line, "cause"));
    stopping_since_ = same_boot ? at : 0;
  }
}

void Journal::enter(format::State state, const std::string& message, const Json& more) {
  if (!format::transition_allowed(state_, state)) return;
  Json fields = {{"state", format::to_string(state)}};
  if (!message.empty()) fields["message"] = shortened(message);
  fields.update(more);
  state_ = state;
  if (state == format::State::running && !running_since_) running_since_ = base::mono_ns();
  (void)writer_.append("state", fields);
}

void Journal::mark_prepared() {
  prepared_ = true;
  (void)writer_.append("prepared", Json::object());
}

void Journal::queued(const std::string& reason) {
  if (state_ != format::State::queued) return enter(format::State::queued, reason);
  (void)writer_.append("state", {{"state", "queued"}, {"message", shortened(reason)}});
}

void Journal::acknowledge(const std::string& request, const std::string& result) {
  (void)writer_.append("control", {{"request", request}, {"result", result}});
}

void Journal::warn(const std::string& message) {
  if (warnings_++ < kMaxWarnings) (void)writer_.append("warning", {{"message", shortened(message)}});
}

void Journal::note_environment(const BuiltEnvironment& environment) {
  (void)writer_.append("environment", {{"python", environment.python.string()},
                                       {"key", environment.key},
                                       {"version", environment.version},
                                       {"tool", environment.tool},
                                       {"built", environment.built}});
}

void Journal::note_container(const ContainerImage& image) {
  (void)writer_.append("container", host::to_json(image));
}

void Journal::note_rendezvous(const Rendezvous& rendezvous) {
  if (rendezvous_) return;
  rendezvous_ = rendezvous;
  (void)writer_.append("gang", {{"rendezvous", host::to_json(rendezvous)}});
}

Result<> Journal::note_verdict(const AttemptEnd& end) {
  verdict_ = end;
  return writer_.append_durable("verdict", to_json(end));
}

Result<> Journal::end(const AttemptEnd& end, const std::map<std::string, std::uint64_t>& log_sizes) {
  Json logs = Json::object();
  for (const auto& [name, size] : log_sizes) logs[name] = size;
  Json fields = to_json(end);
  fields["logs"] = std::move(logs);
  if (end.output_files) fields["outputs"] = {{"files", *end.output_files}, {"bytes", end.output_bytes}};
  return writer_.append_durable("end", fields);
}

}  // namespace trainctl::host
