// SPDX-License-Identifier: Apache-2.0
#include "engine/collect.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "engine/supervision.hpp"
#include "format/event.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "snapshot/scan.hpp"
#include "target/cancel.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

constexpr std::size_t kNamed = 3;
constexpr int kOtherCollectsMs = 86'400'000;
constexpr std::array<std::string_view, 4> kStates = {"pending", "here", "partial", "not_wanted"};

OutputsAre outputs_from(std::string_view word) {
  const auto* const found = std::find(kStates.begin(), kStates.end(), word);
  return found == kStates.end() ? OutputsAre::pending : static_cast<OutputsAre>(found - kStates.begin());
}

/// The field `collect` of the configuration: a word, or an object.
struct Wish {
  std::string when = "always";
  std::vector<std::string> patterns = {};
};

Wish wish_of(const format::Plan& plan) {
  Wish wish;
  const Json field = plan.spec.is_object() ? plan.spec.value("collect", Json(nullptr)) : Json(nullptr);
  if (field.is_string()) wish.when = field.get<std::string>();
  if (!field.is_object()) return wish;
  wish.when = field.value("when", wish.when);
  for (const Json& pattern : field.value("patterns", Json::array())) {
    if (pattern.is_string()) wish.patterns.push_back(pattern.get<std::string>());
  }
  return wish;
}

bool is_wanted(const Wish& wish, const format::RunState& state) {
  return wish.when == "always" || (wish.when == "on_success" && state.state == format::State::succeeded);
}

/// The newest `collected` line of any client.
Json last_collected(const format::RunPaths& run) {
  Json last;
  const auto clients = base::list_directory(run.clients());
  if (!clients) return last;
  for (const std::string& name : *clients) {
    if (!name.ends_with(".jsonl")) continue;
    const auto lines = format::read_lines(run.clients() / name);
    if (!lines) continue;
    for (const Json& line : *lines) {
      if (line.value("type", "") != "collected") continue;
      if (last.is_null() || line.value("t", "") >= last.value("t", "")) last = line;
    }
  }
  return last;
}

/// As in place: the run's folder shows its outputs under one name.
Result<> link_outputs(const format::RunPaths& run, int attempt) {
  const auto draft = run.root / (".outputs-" + base::random_hex(4));
  const std::string target = "attempts/" + std::to_string(attempt) + "/work/outputs";
  if (::symlink(target.c_str(), draft.c_str()) != 0) return fail_errno("make " + draft.string(), errno);
  if (::rename(draft.c_str(), run.outputs_link().c_str()) == 0) return {};
  const int problem = errno;
  ::unlink(draft.c_str());
  return fail_errno("make " + run.outputs_link().string(), problem);
}

Result<> record(const format::RunPaths& run, int attempt, const OutputsRecord& outputs) {
  TRY_ASSIGN(auto writer, format::EventWriter::create(run.client(base::new_ulid())));
  return writer.append_durable("collected", {{"attempt", attempt},
                                             {"outputs", to_string(outputs.state)},
                                             {"files", outputs.files},
                                             {"bytes", outputs.bytes},
                                             {"left", outputs.left},
                                             {"left_bytes", outputs.left_bytes},
                                             {"problem", outputs.problem}});
}

/// `chosen`: the configuration names the wanted ones, so the others are not missing.
OutputsRecord record_of(const target::Collected& collected, bool chosen, bool capped) {
  OutputsRecord outputs{.state = OutputsAre::here, .files = collected.files, .bytes = collected.bytes};
  outputs.left = collected.left.size();
  outputs.left_bytes = collected.left_bytes;
  if (outputs.left > 0 && (!chosen || capped)) outputs.state = OutputsAre::partial;
  // What can never come does not keep the rest from being complete.
  if (!collected.refused.empty()) {
    outputs.problem = "not copied, as they lead outside of the outputs or are no files: " +
                      snapshot::name_list(collected.refused, kNamed);
  }
  return outputs;
}

}  // namespace

std::string_view to_string(OutputsAre state) {
  return kStates.at(static_cast<std::size_t>(state));
}

OutputsRecord outputs_record(const format::RunPaths& run, const format::Plan& plan, const format::RunState& state) {
  OutputsRecord outputs;
  if (plan.target.value("type", "local") == "local") {
    outputs.state = OutputsAre::here;
    return outputs;
  }
  const Json last = last_collected(run);
  if (last.is_object() && last.value("attempt", 0) == state.attempt) {
    outputs.state = outputs_from(last.value("outputs", ""));
    outputs.files = last.value("files", std::uint64_t{0});
    outputs.bytes = last.value("bytes", std::uint64_t{0});
    outputs.left = last.value("left", std::uint64_t{0});
    outputs.left_bytes = last.value("left_bytes", std::uint64_t{0});
    outputs.problem = last.value("problem", "");
  } else if (format::is_terminal(state.state) && !is_wanted(wish_of(plan), state)) {
    outputs.state = OutputsAre::not_wanted;
  }
  return outputs;
}

namespace {

target::CollectPlan plan_of(const format::Plan& plan, const format::RunState& state, const CollectOptions& options) {
  if (options.pull) return {.attempt = state.attempt, .patterns = options.patterns, .max_bytes = {}};
  target::CollectPlan wanted{.attempt = state.attempt, .patterns = wish_of(plan).patterns, .max_bytes = {}};
  if (state.state != format::State::succeeded) wanted.max_bytes = kMostOfFailed;
  return wanted;
}

/// Did the attempt end without any? Its supervisor says `collecting` before it lists them; the copy of what it said is
/// whole. Of several machines each has a list of its own.
bool left_nothing(const format::RunPaths& run, const format::Plan& plan, int attempt) {
  const auto lines = format::read_lines(run.attempt(attempt).events());
  if (!lines || plan.resources.nodes > 1) return false;
  const auto says = [&lines](std::string_view type, std::string_view state) {
    return std::any_of(lines->begin(), lines->end(), [&](const Json& line) {
      return line.value("type", "") == type && (state.empty() || line.value("state", "") == state);
    });
  };
  return says("end", "") && !says("state", format::to_string(format::State::collecting));
}

Result<target::Collected> bring(const format::RunPaths& run, const format::Plan& plan, const target::RunRef& ref,
                                const target::CollectPlan& wanted) {
  if (left_nothing(run, plan, wanted.attempt)) return target::Collected{};
  TRY_ASSIGN(const auto target, target_of(run, plan));
  TRY_ASSIGN(const auto cancel, target::Cancel::create());
  return target->collect(ref, wanted, cancel);
}

/// Copies and records; the caller has the lock.
Result<OutputsRecord> bring_home(const format::RunPaths& run, const format::Plan& plan,
                                 const target::CollectPlan& wanted, const CollectOptions& options) {
  TRY_ASSIGN(target::RunRef ref, reference(run));
  ref.progress = options.progress;
  const auto collected = bring(run, plan, ref, wanted);
  const bool stopped = !collected && (collected.error().retryable || collected.error().code == Errc::canceled);
  if (stopped) return fail(collected.error());
  OutputsRecord outputs{.state = OutputsAre::partial};
  if (collected) {
    outputs = record_of(*collected, !options.pull && !wanted.patterns.empty(), wanted.max_bytes.has_value());
    TRY(link_outputs(run, wanted.attempt));
  } else {
    outputs.problem = collected.error().message;
  }
  // On a full disk there may be no room for this line either: they are pending then.
  if (auto recorded = record(run, wanted.attempt, outputs); !recorded && collected) return fail(recorded.error());
  return outputs;
}

}  // namespace

Result<OutputsRecord> collect(const format::RunPaths& run, const CollectOptions& options) {
  TRY_ASSIGN(const format::Plan plan, format::read_plan(run.plan()));
  TRY_ASSIGN(const format::RunState state, format::fold_run(run));
  const auto is_done = [&](const OutputsRecord& known) {
    return known.state == OutputsAre::here || (!options.pull && known.state != OutputsAre::pending);
  };
  OutputsRecord known = outputs_record(run, plan, state);
  if (!format::is_terminal(state.state) || state.attempt == 0 || is_done(known)) return known;
  TRY_ASSIGN(const auto lock, base::FileLock::acquire(run.clients() / "collect.lock", kOtherCollectsMs));
  known = outputs_record(run, plan, state);
  if (is_done(known)) return known;
  return bring_home(run, plan, plan_of(plan, state, options), options);
}

}  // namespace trainctl::engine
