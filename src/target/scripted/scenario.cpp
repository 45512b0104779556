// SPDX-License-Identifier: Apache-2.0
#include "target/scripted/scenario.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "base/text.hpp"
#include "format/state.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

constexpr std::array<std::pair<std::string_view, StepKind>, 7> kKinds = {{{"state", StepKind::state},
                                                                          {"log", StepKind::log},
                                                                          {"metric", StepKind::metric},
                                                                          {"disconnect", StepKind::disconnect},
                                                                          {"truncate", StepKind::truncate},
                                                                          {"lose", StepKind::lose},
                                                                          {"end", StepKind::end}}};
constexpr std::array<std::string_view, 15> kFields = {"state", "log",  "metric",  "disconnect", "truncate",
                                                      "lose",  "end",  "after",   "repeat",     "every",
                                                      "value", "step", "message", "exit_code",  "cause"};
constexpr std::int64_t kMostSteps = 1'000'000;

class Reader {
 public:
  explicit Reader(const base::JsonPositions* positions) : positions_(positions) {}

  Scenario read(const Json& document) {
    Scenario scenario;
    if (!document.is_object() || !document.contains("steps") || !document["steps"].is_array()) {
      complain("", "a scenario is an object with a list \"steps\"");
      return scenario;
    }
    read_fidelity(document, scenario);
    for (std::size_t i = 0; i < document["steps"].size(); ++i) {
      pointer_ = "/steps/" + std::to_string(i);
      read_step(document["steps"][i], scenario);
    }
    if (scenario.steps.empty() || scenario.steps.back().kind != StepKind::end) {
      scenario.steps.push_back({.kind = StepKind::end,
                                .at = now_,
                                .state = format::State::succeeded,
                                .number = 0,
                                .cause = format::Cause::exit});
    }
    return scenario;
  }
  Errors errors;

 private:
  void complain(const std::string& field, std::string message, std::string hint = {}) {
    const std::string pointer = field.empty() ? pointer_ : base::pointer_append(pointer_, field);
    Error error{.code = Errc::invalid, .message = std::move(message), .field = pointer, .hint = std::move(hint)};
    if (positions_ != nullptr) {
      auto found = positions_->values.find(pointer);
      if (found == positions_->values.end()) found = positions_->values.find(pointer_);  // of what it is missing in
      if (found != positions_->values.end()) error.at = found->second;
    }
    errors.push_back(std::move(error));
  }

  void read_fidelity(const Json& document, Scenario& scenario) {
    const auto found = document.find("fidelity");
    if (found == document.end() || *found == "byte_exact") return;
    scenario.fidelity = LogFidelity::best_effort;
    if (*found != "best_effort") complain("fidelity", "\"fidelity\" is byte_exact or best_effort");
  }

  std::chrono::milliseconds duration(const Json& step, const char* field) {
    const auto found = step.find(field);
    if (found == step.end()) return {};
    const auto parsed = found->is_string()
                            ? base::parse_duration(found->get<std::string>())
                            : Result<std::chrono::milliseconds>(fail(Errc::invalid, "a time is a text like \"200ms\""));
    if (parsed) return *parsed;
    complain(field, parsed.error().message);
    return {};
  }

  std::int64_t whole(const Json& step, const char* field, std::int64_t fallback) {
    const auto found = step.find(field);
    if (found == step.end()) return fallback;
    if (found->is_number_integer() && found->get<std::int64_t>() >= 0 && found->get<std::int64_t>() <= kMostSteps)
      return found->get<std::int64_t>();
    complain(field, std::string("\"") + field + "\" is a whole number from 0 to 1000000");
    return fallback;
  }

  std::string text(const Json& step, const char* field) {
    const auto found = step.find(field);
    if (found == step.end()) return {};
    if (found->is_string()) return found->get<std::string>();
    complain(field, std::string("\"") + field + "\" is a text");
    return {};
  }

  bool check_fields(const Json& step) {
    const std::size_t before = errors.size();
    for (const auto& member : step.items()) {
      if (std::find(kFields.begin(), kFields.end(), member.key()) != kFields.end()) continue;
      const auto near = base::suggest(member.key(), kFields);
      complain(member.key(), "a step has no field \"" + member.key() + "\"",
               near ? "did you mean \"" + std::string(*near) + "\"?" : std::string());
    }
    return errors.size() == before;
  }

  void read_state(const Json& step, const char* field, bool terminal, Step& out) {
    const auto state = format::parse_state(text(step, field));
    if (state && format::is_terminal(*state) == terminal) {
      out.state = *state;
    } else {
      complain(field, terminal ? "\"end\" is succeeded, failed, canceled, timed_out or lost"
                               : "\"state\" is queued, preparing, running, stopping or collecting");
    }
    out.text = text(step, "message");
  }

  void read_end(const Json& step, Step& out) {
    read_state(step, "end", true, out);
    out.cause = format::Cause::exit;
    if (step.contains("cause")) {
      out.cause = format::parse_cause(text(step, "cause"));
      if (!out.cause) complain("cause", "no such cause of an end");
    }
    out.number = whole(step, "exit_code", out.state == format::State::succeeded ? 0 : 1);
  }

  void read_metric(const Json& step, Step& out) {
    out.text = text(step, "metric");
    if (step.contains("step")) out.number = whole(step, "step", 0);
    const auto value = step.find("value");
    if (value != step.end() && value->is_number()) {
      out.value = value->get<double>();
    } else {
      complain("value", "a metric needs a number as \"value\"");
    }
  }

  void read_kind(const Json& step, Step& out) {
    switch (out.kind) {
      case StepKind::state:
        read_state(step, "state", false, out);
        break;
      case StepKind::log:
        out.text = text(step, "log");
        break;
      case StepKind::metric:
        read_metric(step, out);
        break;
      case StepKind::lose:
        out.number = whole(step, "lose", 0);
        break;
      case StepKind::end:
        read_end(step, out);
        break;
      case StepKind::disconnect:
      case StepKind::truncate:
        break;
    }
  }

  void read_step(const Json& step, Scenario& scenario) {
    if (!step.is_object()) return complain("", "a step is an object");
    const bool known = check_fields(step);
    const auto kind =
        std::find_if(kKinds.begin(), kKinds.end(), [&step](const auto& one) { return step.contains(one.first); });
    if (kind == kKinds.end() && !known) return;  // most likely that field was meant
    if (kind == kKinds.end())
      return complain("", "a step says one of state, log, metric, disconnect, truncate, lose, end");
    if (!scenario.steps.empty() && scenario.steps.back().kind == StepKind::end)
      return complain("", "nothing comes after the end");
    Step out{.kind = kind->second};
    read_kind(step, out);
    now_ += duration(step, "after");
    const auto every = duration(step, "every");
    const std::int64_t repeat = whole(step, "repeat", 1);
    for (std::int64_t i = 0; i < repeat; ++i) {
      if (i > 0) now_ += every;
      out.at = now_;
      scenario.steps.push_back(out);
    }
  }

  const base::JsonPositions* positions_;
  std::string pointer_;
  std::chrono::milliseconds now_{0};
};

}  // namespace

ResultAll<Scenario> parse_scenario(std::string_view text, const std::string& file_name) {
  auto located = base::parse_located(text, file_name);
  if (!located) return tl::make_unexpected(std::move(located).error());
  Reader reader(&located->positions);
  Scenario scenario = reader.read(located->value);
  if (!reader.errors.empty()) return tl::make_unexpected(std::move(reader.errors));
  return scenario;
}

Result<Scenario> scenario_from_json(const Json& document) {
  Reader reader(nullptr);
  Scenario scenario = reader.read(document);
  if (!reader.errors.empty()) return fail(std::move(reader.errors.front()));
  return scenario;
}

}  // namespace trainctl::target
