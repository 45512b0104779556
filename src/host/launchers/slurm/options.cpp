// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/options.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/json.hpp"
#include "base/sbatch_option.hpp"
#include "base/text.hpp"
#include "format/plan.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {
namespace {

/// Members whose value is passed on as the option of the same name.
constexpr std::array<const char*, 10> kTexts = {"partition", "account",  "qos",         "constraint", "gres",
                                                "licenses",  "nodelist", "reservation", "exclude",    "dependency"};

Result<> check_text(const char* key, const std::string& value) {
  const bool control = std::any_of(value.begin(), value.end(), [](char c) { return c >= 0 && c < ' '; });
  if (!value.empty() && !control) return {};
  return fail(Errc::invalid, std::string("slurm.") + key + " is empty or has a control character");
}

Result<> read_words(const Json& list, Options& options) {
  for (const Json& item : list) {
    const std::string word = item.is_string() ? item.get<std::string>() : item.dump();
    if (auto refusal = base::refuse_sbatch_option(word))
      return fail(Errc::invalid, "slurm.options: " + refusal->message, std::move(refusal->hint));
    options.more.push_back(word);
  }
  return {};
}

Result<std::optional<std::chrono::milliseconds>> duration_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return std::nullopt;
  if (found->is_string()) {
    TRY_ASSIGN(const auto parsed, base::parse_duration(found->get<std::string>()));
    return parsed;
  }
  return fail(Errc::invalid, std::string("slurm.") + key + " is not a duration", "\"2h\"");
}

Result<std::optional<std::uint64_t>> size_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return std::nullopt;
  if (found->is_number_unsigned()) return found->get<std::uint64_t>();
  if (found->is_string()) {
    TRY_ASSIGN(const auto parsed, base::parse_size(found->get<std::string>()));
    return parsed;
  }
  return fail(Errc::invalid, std::string("slurm.") + key + " is not a size", "\"4GiB\"");
}

bool flag_of(const Json& json, const char* key, bool fallback) {
  const auto found = json.find(key);
  return found != json.end() && found->is_boolean() ? found->get<bool>() : fallback;
}

}  // namespace

bool is_slurm(const Json& target) {
  if (!target.is_object()) return false;
  return target.value("type", "") == "slurm" || target.value("launcher", "") == "slurm";
}

bool is_slurm(const format::Plan& plan) {
  return is_slurm(plan.target);
}

Result<Options> read_options(const Json& target) {
  Options options;
  const auto found = target.find("slurm");
  if (found == target.end() || found->is_null()) return options;
  if (!found->is_object()) return fail(Errc::invalid, "\"slurm\" of the target is not an object");
  for (const char* key : kTexts) {
    const auto value = found->find(key);
    if (value == found->end() || value->is_null()) continue;
    if (!value->is_string()) return fail(Errc::invalid, std::string("slurm.") + key + " is not a text");
    TRY(check_text(key, value->get<std::string>()));
    options.flags.emplace_back(key, value->get<std::string>());
  }
  if (const auto words = found->find("options"); words != found->end() && words->is_array())
    TRY(read_words(*words, options));
  options.exclusive = flag_of(*found, "exclusive", false);
  options.requeue = flag_of(*found, "requeue", true);
  TRY_ASSIGN(options.time, duration_of(*found, "time"));
  TRY_ASSIGN(options.memory, size_of(*found, "memory"));
  if (const auto cpus = found->find("cpus"); cpus != found->end() && cpus->is_number_integer())
    options.cpus = cpus->get<int>();
  options.build_in_job = found->value("environment_build", Json("submit_host")) == "job";
  TRY_ASSIGN(const auto evidence, duration_of(*found, "evidence_after"));
  options.evidence = evidence.value_or(options.evidence);
  return options;
}

}  // namespace trainctl::host::slurm
