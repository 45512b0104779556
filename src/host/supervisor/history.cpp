// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/history.hpp"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/json.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "host/supervisor/verdict.hpp"

namespace trainctl::host {
namespace {

std::string text_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

History read_history(const format::RunPaths& run, int attempts) {
  History history;
  for (int n = 1; n <= attempts; ++n) {
    const auto events = format::read_lines(run.attempt(n).events());
    if (!events) continue;
    const Json* end = nullptr;
    for (const Json& line : *events) {
      const std::string type = text_of(line, "type");
      if (type == "control") history.acknowledged.push_back(text_of(line, "request"));
      if (type == "end" && end == nullptr) end = &line;
    }
    if (end == nullptr && n < attempts && !events->empty()) ++history.retries.infrastructure;
    if (end == nullptr || text_of(*end, "next") != "retry") continue;
    const auto cause = format::parse_cause(text_of(*end, "cause"));
    ++(cause && is_infrastructure(*cause) ? history.retries.infrastructure : history.retries.asked);
  }
  return history;
}

}  // namespace trainctl::host
