// SPDX-License-Identifier: Apache-2.0
#include "host/gang/messages.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "format/state.hpp"
#include "host/distribution/rank_variables.hpp"
#include "host/waiter/rank_record.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::array<std::string_view, 5> kSteps = {"wait", "prepare", "launch", "conclude", "leave"};
constexpr std::array<std::string_view, 7> kNodeSteps = {"idle",   "queued",  "preparing", "ready",
                                                        "active", "drained", "ended"};

const Json* member(const Json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  return found == json.end() || found->is_null() ? nullptr : &*found;
}

std::string text(const Json& json, const char* key) {
  const Json* found = member(json, key);
  return found != nullptr && found->is_string() ? found->get<std::string>() : std::string();
}

std::int64_t number(const Json& json, const char* key) {
  const Json* found = member(json, key);
  return found != nullptr && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

int small(const Json& json, const char* key) {
  return static_cast<int>(std::clamp<std::int64_t>(number(json, key), 0, 1'000'000'000));
}

std::uint64_t size(const Json& json, const char* key) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(number(json, key), 0));
}

bool flag(const Json& json, const char* key) {
  const Json* found = member(json, key);
  return found != nullptr && found->is_boolean() && found->get<bool>();
}

std::vector<int> numbers(const Json& json, const char* key) {
  std::vector<int> made;
  const Json* found = member(json, key);
  if (found == nullptr || !found->is_array()) return made;
  for (const Json& item : *found) made.push_back(item.is_number_integer() ? item.get<int>() : 0);
  return made;
}

/// An unknown word counts as the first: nothing is done on it.
template <class Step, std::size_t N>
Step step_of(const std::array<std::string_view, N>& names, const std::string& word) {
  const auto* found = std::find(names.begin(), names.end(), word);
  return found == names.end() ? Step{} : static_cast<Step>(found - names.begin());
}

Json to_json(const NodeVerdict& verdict) {
  Json json = {{"cause", to_string(verdict.cause)}, {"message", verdict.message}};
  if (verdict.rank) json["rank"] = *verdict.rank;
  return json;
}

std::optional<NodeVerdict> verdict_of(const Json& json, const char* key) {
  const Json* found = member(json, key);
  if (found == nullptr || !found->is_object()) return std::nullopt;
  NodeVerdict verdict{.cause = format::parse_cause(text(*found, "cause")).value_or(format::Cause::exit)};
  if (member(*found, "rank") != nullptr) verdict.rank = small(*found, "rank");
  verdict.message = text(*found, "message");
  return verdict;
}

Json to_json(const RemoteRank& rank) {
  Json json = {{"rank", rank.rank}, {"begun", rank.begun}};
  if (rank.lost) json["lost"] = *rank.lost;
  if (!rank.exit) return json;
  json["exit"] = {{"code", rank.exit->code},           {"signal", rank.exit->signal},
                  {"cause", rank.exit->cause},         {"message", rank.exit->message},
                  {"retryable", rank.exit->retryable}, {"mono_ns", rank.exit->mono_ns}};
  return json;
}

RemoteRank rank_of(const Json& json) {
  RemoteRank rank{.rank = small(json, "rank"), .begun = flag(json, "begun")};
  if (member(json, "lost") != nullptr) rank.lost = text(json, "lost");
  const Json* exit = member(json, "exit");
  if (exit == nullptr || !exit->is_object()) return rank;
  rank.exit = RankExit{.code = small(*exit, "code"),
                       .signal = small(*exit, "signal"),
                       .cause = text(*exit, "cause"),
                       .message = text(*exit, "message"),
                       .retryable = flag(*exit, "retryable"),
                       .mono_ns = size(*exit, "mono_ns")};
  return rank;
}

Json report_json(const NodeReport& report) {
  Json ranks = Json::array();
  for (const RemoteRank& rank : report.ranks) ranks.push_back(to_json(rank));
  Json logs = Json::object();
  for (const auto& [name, bytes] : report.logs) logs[name] = bytes;
  Json json = {{"attempt", report.attempt},     {"step", to_string(report.step)},    {"message", report.message},
               {"ports", report.ports},         {"ranks", std::move(ranks)},         {"mono_ns", report.mono_ns},
               {"growth_ns", report.growth_ns}, {"memory_peak", report.memory_peak}, {"logs", std::move(logs)}};
  if (report.problem) json["problem"] = to_json(*report.problem);
  if (report.verdict) json["verdict"] = to_json(*report.verdict);
  return json;
}

NodeReport report_of(const Json& json) {
  NodeReport report{.attempt = small(json, "attempt"), .step = step_of<NodeStep>(kNodeSteps, text(json, "step"))};
  report.message = text(json, "message");
  report.ports = numbers(json, "ports");
  if (const Json* ranks = member(json, "ranks"); ranks != nullptr && ranks->is_array()) {
    for (const Json& one : *ranks) report.ranks.push_back(rank_of(one));
  }
  report.mono_ns = size(json, "mono_ns");
  report.growth_ns = size(json, "growth_ns");
  report.memory_peak = size(json, "memory_peak");
  if (const Json* logs = member(json, "logs"); logs != nullptr && logs->is_object()) {
    for (const auto& item : logs->items()) report.logs[item.key()] = size(*logs, item.key().c_str());
  }
  report.problem = verdict_of(json, "problem");
  report.verdict = verdict_of(json, "verdict");
  return report;
}

Result<Json> object_of(std::string_view text) {
  TRY_ASSIGN(auto json, base::parse_json(text));
  if (!json.is_object()) return fail(Errc::invalid, "a message of the gang channel is not an object");
  return json;
}

}  // namespace

std::string_view to_string(NodeStep step) {
  return kNodeSteps.at(static_cast<std::size_t>(step));
}

Json to_json(const Rendezvous& rendezvous) {
  return {{"addresses", rendezvous.addresses}, {"master_port", rendezvous.master_port}, {"ports", rendezvous.ports}};
}

Rendezvous rendezvous_from_json(const Json& json) {
  Rendezvous made{.addresses = {}, .master_port = small(json, "master_port"), .ports = numbers(json, "ports")};
  if (const Json* addresses = member(json, "addresses"); addresses != nullptr && addresses->is_array()) {
    for (const Json& one : *addresses) made.addresses.push_back(one.is_string() ? one.get<std::string>() : "");
  }
  if (made.addresses.empty()) made.addresses = {"127.0.0.1"};
  return made;
}

std::string encode(const GangOrder& order) {
  Json json = {{"attempt", order.attempt},
               {"step", kSteps.at(static_cast<std::size_t>(order.step))},
               {"rendezvous", to_json(order.rendezvous)},
               {"warn", order.warn},
               {"retry", order.retry}};
  if (order.stop) {
    json["stop"] = {{"signal", order.stop->signal},
                    {"grace_ms", order.stop->grace.count()},
                    {"cause", order.stop->cause ? Json(to_string(*order.stop->cause)) : Json(nullptr)},
                    {"message", order.stop->message}};
  }
  for (const GangSignal& signal : order.signals)
    json["signals"].push_back({{"request", signal.request}, {"number", signal.number}});
  return base::dump_json(json);
}

std::string encode(const NodeReport& report) {
  return base::dump_json(report_json(report));
}

std::string encode(const GangHello& hello) {
  return base::dump_json({{"node", hello.node},
                          {"machine", hello.machine},
                          {"lead_address", hello.lead_address},
                          {"shared", hello.shared},
                          {"report", report_json(hello.report)}});
}

Result<GangOrder> decode_order(std::string_view line) {
  TRY_ASSIGN(const Json json, object_of(line));
  GangOrder order{.attempt = small(json, "attempt"), .step = step_of<GangStep>(kSteps, text(json, "step"))};
  if (const Json* rendezvous = member(json, "rendezvous")) order.rendezvous = rendezvous_from_json(*rendezvous);
  order.warn = flag(json, "warn");
  order.retry = flag(json, "retry");
  if (const Json* stop = member(json, "stop"); stop != nullptr && stop->is_object()) {
    order.stop = GangStop{.signal = small(*stop, "signal"),
                          .grace = std::chrono::milliseconds(small(*stop, "grace_ms")),
                          .cause = format::parse_cause(text(*stop, "cause")),
                          .message = text(*stop, "message")};
  }
  if (const Json* signals = member(json, "signals"); signals != nullptr && signals->is_array()) {
    for (const Json& one : *signals)
      order.signals.push_back({.request = text(one, "request"), .number = small(one, "number")});
  }
  return order;
}

Result<NodeReport> decode_report(std::string_view line) {
  TRY_ASSIGN(const Json json, object_of(line));
  return report_of(json);
}

Result<GangHello> decode_hello(std::string_view line) {
  TRY_ASSIGN(const Json json, object_of(line));
  GangHello hello{.node = small(json, "node"), .machine = text(json, "machine")};
  hello.lead_address = text(json, "lead_address");
  hello.shared = flag(json, "shared");
  if (const Json* report = member(json, "report")) hello.report = report_of(*report);
  return hello;
}

}  // namespace trainctl::host
