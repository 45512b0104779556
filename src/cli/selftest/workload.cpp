// SPDX-License-Identifier: Apache-2.0
#include "cli/selftest/workload.hpp"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/json.hpp"

namespace trainctl::cli::selftest {
namespace {

constexpr std::uint64_t kMultiplier = 1103515245;
constexpr std::uint64_t kIncrement = 12345;
constexpr std::uint64_t kMask = 2147483647;

// $1 seed, $2 lines, $3 lines a pause, $4 exit code, $5 the line at which the supervisor is killed (-1: never).
// The supervisor's pid stands in the newest line {"type":"attempt"} of the attempt's events.
constexpr const char* kScript = R"(echo started >> "$TRAINCTL_OUTPUTS/starts"
i=0; x=$1
while [ $i -lt $2 ]; do
  x=$(( (x * 1103515245 + 12345) & 2147483647 ))
  echo "line $i $x"
  i=$((i + 1))
  if [ $i -eq $5 ]; then
    lead=$(sed -n '/"type":"attempt"/s/.*"pid":\([0-9]*\).*/\1/p' "$TRAINCTL_OUTPUTS/../../events.jsonl" | tail -n 1)
    kill -9 $lead
  fi
  [ $((i % $3)) -ne 0 ] || sleep 0.1
done
exit $4
)";

}  // namespace

std::string expected_log(const Workload& workload) {
  std::string log;
  std::uint64_t x = workload.seed;
  for (int i = 0; i < workload.lines; ++i) {
    x = (x * kMultiplier + kIncrement) & kMask;
    log += "line " + std::to_string(i) + " " + std::to_string(x) + "\n";
  }
  return log;
}

Json run_configuration(const Workload& workload) {
  Json command = {"sh", "-c", kScript, "selftest"};
  for (const std::int64_t value :
       {std::int64_t{workload.seed}, std::int64_t{workload.lines}, std::int64_t{workload.lines_a_pause},
        std::int64_t{workload.exit_code}, std::int64_t{workload.kills_supervisor_at}}) {
    command.push_back(std::to_string(value));
  }
  return {{"name", "selftest"}, {"command", std::move(command)}};
}

}  // namespace trainctl::cli::selftest
