// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/inbox.hpp"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kMaxRequest = 65536;

std::string text_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

std::vector<std::string> Inbox::new_ids() const {
  std::vector<std::string> ids;
  const auto names = base::list_directory(folder_);
  if (!names) return ids;
  for (const std::string& name : *names) {
    if (!name.ends_with(".json")) continue;
    std::string id = name.substr(0, name.size() - 5);
    if (base::is_ulid(id) && !seen_.contains(id)) ids.push_back(std::move(id));
  }
  return ids;
}

bool Inbox::has_new() const {
  return !new_ids().empty();
}

std::vector<ControlRequest> Inbox::take_new() {
  std::vector<ControlRequest> requests;
  for (const std::string& id : new_ids()) {
    seen_.insert(id);
    ControlRequest request{.id = id, .type = {}, .signal = {}, .reason = {}};
    const auto text = base::read_file(folder_ / (id + ".json"), kMaxRequest);
    const auto json = text ? base::parse_json(*text) : Result<Json>(fail(Errc::invalid, "unreadable"));
    if (json && json->is_object()) {
      request.type = text_of(*json, "type");
      request.signal = text_of(*json, "signal");
      request.reason = text_of(*json, "reason");
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

}  // namespace trainctl::host
