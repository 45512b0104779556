// SPDX-License-Identifier: Apache-2.0
#include "cli/selftest/proof.hpp"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/selftest/checks.hpp"
#include "cli/selftest/clients.hpp"
#include "cli/selftest/workload.hpp"
#include "format/paths.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli::selftest {
namespace {

Error wrong(const std::string& run, const std::string& what) {
  return Error{.code = Errc::internal, .message = "run " + run + ": " + what};
}

Result<Json> show(const Clients& clients, const std::string& run) {
  return clients.ask({"show", run});
}

Result<> check_state(const std::string& run, const Json& shown, const std::string& state) {
  const std::string is = shown.value("state", "");
  if (is != state) return fail(wrong(run, "it is " + is + " instead of " + state));
  const int attempts = shown.value("attempts", 0);
  if (attempts != 1) return fail(wrong(run, "it has " + std::to_string(attempts) + " attempts instead of one"));
  return {};
}

/// One start line of its rank, one "started" of the script itself.
Result<> check_started_once(const Clients& clients, const std::string& run, const std::string& id) {
  const format::RunPaths paths = clients.store().run(id);
  TRY_ASSIGN(const std::string rank, base::read_file(paths.attempt(1).rank(0, 0)));
  int starts = 0;
  for (const std::string& line : base::split(rank, '\n')) {
    if (line.find("\"type\":\"start\"") != std::string::npos) ++starts;
  }
  if (starts != 1) return fail(wrong(run, "its record has " + std::to_string(starts) + " starts"));
  TRY_ASSIGN(const std::string written, base::read_file(paths.outputs_link() / kStartsFile));
  if (written != "started\n")
    return fail(wrong(run, "the script wrote of its starts: \"" + std::string(base::trim(written)) + "\""));
  return {};
}

/// `trainctl logs --verify` found the log whole; its hash.
Result<Json> verified_log(const Clients& clients, const std::string& run) {
  return clients.ask({"logs", run, "--verify"});
}

}  // namespace

Result<> prove_ended(const Clients& clients, const std::string& run, const Workload& workload, Evidence& evidence) {
  TRY_ASSIGN(const Json shown, show(clients, run));
  TRY(check_state(run, shown, workload.exit_code == 0 ? "succeeded" : "failed"));
  if (const int code = shown.value("exit_code", -1); code != workload.exit_code)
    return fail(
        wrong(run, "its exit code is " + std::to_string(code) + " instead of " + std::to_string(workload.exit_code)));
  TRY(check_started_once(clients, run, shown.value("id", "")));
  const std::string expected = expected_log(workload);
  TRY_ASSIGN(const Json log, verified_log(clients, run));
  const std::string hash = base::sha256_hex(expected);
  if (log.value("sha256", "") != hash)
    return fail(wrong(run, "its log has " + std::to_string(log.value("size", 0)) + " bytes with SHA-256 " +
                               log.value("sha256", "") + "; its script writes " + std::to_string(expected.size()) +
                               " bytes with " + hash));
  evidence.facts.push_back("log " + base::format_count(expected.size()) + " bytes, sha256 " + hash.substr(0, 12) +
                           " as written; started once; exit code " + std::to_string(workload.exit_code));
  return {};
}

Result<> prove_canceled(const Clients& clients, const std::string& run, const Workload& workload, Evidence& evidence) {
  TRY_ASSIGN(const Json shown, show(clients, run));
  TRY(check_state(run, shown, "canceled"));
  TRY_ASSIGN(const Json verified, verified_log(clients, run));
  TRY_ASSIGN(const std::string log, base::read_file(clients.store().run(shown.value("id", "")).attempt(1).log(0)));
  if (!expected_log(workload).starts_with(log)) return fail(wrong(run, "its log is not what its script writes"));
  if (verified.value("recorded", std::uint64_t{0}) != log.size())
    return fail(wrong(
        run, "its log has " + std::to_string(log.size()) + " bytes, its end records " + verified["recorded"].dump()));
  evidence.facts.push_back("log " + base::format_count(log.size()) + " bytes until then, all as written");
  return {};
}

}  // namespace trainctl::cli::selftest
