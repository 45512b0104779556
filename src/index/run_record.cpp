// SPDX-License-Identifier: Apache-2.0
#include "index/run_record.hpp"

#include <stdint.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/plan_target.hpp"
#include "format/state.hpp"

namespace trainctl::index {
namespace {

constexpr unsigned kRandomBits = 21;
constexpr std::int64_t kLatestMs = INT64_C(1) << 41;  // the year 2039; later ones share the last keys
constexpr std::int64_t kAbandonedMs = 3'600'000;

std::optional<std::int64_t> microseconds(std::string_view utc) {
  const auto time = base::parse_utc(utc);
  return time ? std::optional(time->time_since_epoch().count()) : std::nullopt;
}

std::string text_member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

void add_number(std::string& text, std::int64_t number) {
  std::array<char, 24> digits{};
  const auto [end, problem] = std::to_chars(digits.data(), digits.data() + digits.size(), number);
  (void)problem;  // 24 digits hold any
  text.append(digits.data(), end).append(" ");
}

void add_size(std::string& text, const std::filesystem::path& path) {
  struct stat status{};
  add_number(text, ::stat(path.c_str(), &status) == 0 ? static_cast<std::int64_t>(status.st_size) : -1);
}

void add_time(std::string& text, const std::filesystem::path& path) {
  struct stat status{};
  const bool there = ::stat(path.c_str(), &status) == 0;
  add_number(text, there ? status.st_mtim.tv_sec * INT64_C(1'000'000'000) + status.st_mtim.tv_nsec : -1);
}

void read_plan_fields(const format::Plan& plan, RunRecord& record) {
  record.visible = true;
  record.name = plan.name;
  record.base_name = plan.name.substr(0, plan.name.rfind('-'));
  record.experiment = plan.experiment;
  record.target = format::target_name(plan);
  record.user = text_member(plan.who, "user");
  record.host = text_member(plan.who, "host");
  record.client_version = text_member(plan.who, "client");
  record.parent = text_member(plan.who, "parent");
  record.group = text_member(plan.who, "group");
  if (const auto created = microseconds(plan.created)) record.created = *created;
  if (plan.parameters.is_object()) record.parameters = plan.parameters;
  if (plan.tags.is_object()) record.tags = plan.tags;
  record.primary_metric = plan.metrics.primary;
  record.goal = plan.metrics.goal;
}

}  // namespace

RunRecord read_run_record(const format::RunPaths& run) {
  RunRecord record;
  record.id = run.id();
  const std::int64_t ms = base::ulid_time_ms(record.id).value_or(0);
  record.created = ms * 1000;
  const auto plan = format::read_plan(run.plan());
  if (!plan) {
    const std::int64_t now = base::wall_now().time_since_epoch().count() / 1000;
    record.terminal = now - ms > kAbandonedMs;
    return record;
  }
  read_plan_fields(*plan, record);
  const auto state = format::fold_run(run);
  if (!state) {
    record.message = state.error().message;
    return record;
  }
  record.state = state->state;
  record.terminal = format::is_terminal(state->state);
  record.cause = state->cause;
  if (state->exit_code) record.exit_code = *state->exit_code;
  record.started = microseconds(state->started);
  record.ended = microseconds(state->ended);
  if (state->took) record.took = state->took->count();
  record.attempts = state->attempt;
  record.message = state->message;
  return record;
}

std::string run_signature(const format::RunPaths& run, int attempt) {
  std::string text;
  add_time(text, run.root);
  add_time(text, run.attempts());
  add_time(text, run.control());
  add_time(text, run.clients());
  if (attempt == 0) {
    // Only without a lead does it count what clients saw.
    const auto clients = base::list_directory(run.clients());
    for (const std::string& name : clients.value_or(std::vector<std::string>{})) add_size(text, run.clients() / name);
    return text;
  }
  const format::AttemptPaths paths = run.attempt(attempt);
  add_size(text, paths.events());
  const auto metrics = base::list_directory(paths.metrics());
  for (const std::string& name : metrics.value_or(std::vector<std::string>{})) add_size(text, paths.metrics() / name);
  return text;
}

std::int64_t run_key(std::string_view id) {
  const auto ms = base::ulid_time_ms(id);
  if (!ms) return 0;
  const auto random = static_cast<std::int64_t>(id_digest(id) >> (64U - kRandomBits));
  return (std::clamp(*ms, INT64_C(0), kLatestMs - 1) << kRandomBits) | random;
}

std::int64_t key_at(std::int64_t us) {
  return std::clamp(us / 1000, INT64_C(0), kLatestMs - 1) << kRandomBits;
}

std::uint64_t id_digest(std::string_view id) {
  // The last 16 of 26 characters are random; two multiplications mix them well enough for a sum.
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  if (id.size() < 2 * sizeof(high)) return 0;
  std::memcpy(&high, id.data() + id.size() - 2 * sizeof(high), sizeof(high));
  std::memcpy(&low, id.data() + id.size() - sizeof(low), sizeof(low));
  std::uint64_t mixed = high * UINT64_C(0x9E3779B97F4A7C15) ^ (low + UINT64_C(0xD1B54A32D192ED03));
  mixed = (mixed ^ (mixed >> 32U)) * UINT64_C(0xBF58476D1CE4E5B9);
  return mixed ^ (mixed >> 29U);
}

}  // namespace trainctl::index
