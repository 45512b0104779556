// SPDX-License-Identifier: Apache-2.0
#include "host/environment/request.hpp"

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

namespace {

constexpr std::array<std::pair<EnvironmentKind, const char*>, 6> kKinds = {{
    {EnvironmentKind::system, "system"},
    {EnvironmentKind::interpreter, "interpreter"},
    {EnvironmentKind::venv, "venv"},
    {EnvironmentKind::packages, "packages"},
    {EnvironmentKind::conda, "conda"},
    {EnvironmentKind::project, "project"},
}};

// One table for writing and reading: the order is the canonical one.
constexpr std::array<std::pair<const char*, std::string EnvironmentRequest::*>, 8> kTexts = {{
    {"python", &EnvironmentRequest::python},
    {"path", &EnvironmentRequest::path},
    {"requirements", &EnvironmentRequest::requirements},
    {"constraints", &EnvironmentRequest::constraints},
    {"conda", &EnvironmentRequest::conda},
    {"pyproject", &EnvironmentRequest::pyproject},
    {"uv_lock", &EnvironmentRequest::uv_lock},
    {"torch_backend", &EnvironmentRequest::torch_backend},
}};
constexpr std::array<std::pair<const char*, std::vector<std::string> EnvironmentRequest::*>, 6> kLists = {{
    {"packages", &EnvironmentRequest::packages},
    {"groups", &EnvironmentRequest::groups},
    {"extras", &EnvironmentRequest::extras},
    {"index_urls", &EnvironmentRequest::index_urls},
    {"build_constraints", &EnvironmentRequest::build_constraints},
    {"setup", &EnvironmentRequest::setup},
}};

Result<> read_list(const std::string& key, const Json& value, std::vector<std::string>& list) {
  if (!value.is_array()) return fail(Errc::invalid, "environment request: " + key + " is not a list");
  for (const Json& item : value) {
    if (!item.is_string())
      return fail(Errc::invalid, "environment request: " + key + " holds something else than text");
    list.push_back(item.get<std::string>());
  }
  return {};
}

Result<bool> read_field(const std::string& key, const Json& value, EnvironmentRequest& request) {
  for (const auto& [name, member] : kTexts) {
    if (key != name) continue;
    if (!value.is_string()) return fail(Errc::invalid, "environment request: " + key + " is not text");
    request.*member = value.get<std::string>();
    return true;
  }
  for (const auto& [name, member] : kLists) {
    if (key != name) continue;
    TRY(read_list(key, value, request.*member));
    return true;
  }
  if (key != "variables") return false;
  if (!value.is_object()) return fail(Errc::invalid, "environment request: variables is not an object");
  for (const auto& [name, text] : value.items()) {
    if (!text.is_string()) return fail(Errc::invalid, "environment request: variables." + name + " is not text");
    request.variables[name] = text.get<std::string>();
  }
  return true;
}

// Length before content: no two different requests give the same bytes.
void add_part(base::Sha256& hash, std::string_view part) {
  hash.update(std::to_string(part.size()) + ":");
  hash.update(part);
}

void add_platform(base::Sha256& hash, const Platform& platform, bool with_driver) {
  add_part(hash, platform.system);
  add_part(hash, platform.machine);
  if (with_driver) add_part(hash, platform.driver);
}

}  // namespace

const char* to_string(EnvironmentKind kind) {
  for (const auto& [value, name] : kKinds) {
    if (value == kind) return name;
  }
  return "";
}

std::string wanted_text(const EnvironmentRequest& request) {
  std::string text = request.requirements;
  for (const std::string& package : request.packages) text += package + "\n";
  return text;
}

Json to_json(const EnvironmentRequest& request) {
  Json json = Json::object();
  json["kind"] = to_string(request.kind);
  for (const auto& [name, member] : kTexts) {
    if (!(request.*member).empty()) json[name] = request.*member;
  }
  for (const auto& [name, member] : kLists) {
    if (!(request.*member).empty()) json[name] = request.*member;
  }
  if (!request.variables.empty()) {
    Json variables = Json::object();
    for (const auto& [name, value] : request.variables) variables[name] = value;
    json["variables"] = std::move(variables);
  }
  return json;
}

Result<EnvironmentRequest> environment_request_from_json(const Json& json) {
  if (!json.is_object() || !json.contains("kind") || !json["kind"].is_string()) {
    return fail(Errc::invalid, "environment request: no kind");
  }
  EnvironmentRequest request;
  const std::string kind = json["kind"].get<std::string>();
  const auto found =
      std::find_if(kKinds.begin(), kKinds.end(), [&](const auto& entry) { return kind == entry.second; });
  if (found == kKinds.end())
    return fail(Errc::invalid, "environment request: unknown kind \"" + kind + "\"", "upgrade");
  request.kind = found->first;
  for (const auto& [key, value] : json.items()) {
    if (key == "kind") continue;
    TRY_ASSIGN(const bool known, read_field(key, value, request));
    if (!known) return fail(Errc::invalid, "environment request: unknown field \"" + key + "\"", "upgrade");
  }
  return request;
}

Platform Platform::current() {
  Platform platform;
  struct utsname names{};
  if (::uname(&names) == 0) platform.machine = names.machine;
  // The proc file has a size of 0, which read_file_if_exists copes with; there is none without a driver.
  if (const auto text = base::read_file_if_exists("/proc/driver/nvidia/version", 65536); text && *text) {
    platform.driver = base::trim(std::string_view(**text).substr(0, (*text)->find('\n')));
  }
  return platform;
}

std::string request_key(const EnvironmentRequest& request, const Platform& platform) {
  base::Sha256 hash;
  add_part(hash, "trainctl environment request 1");
  add_part(hash, base::dump_json(to_json(request)));
  add_platform(hash, platform, request.torch_backend == "auto");
  return hash.finish_hex();
}

std::string environment_key(const std::string& lock, const std::string& python_build, const Platform& platform) {
  base::Sha256 hash;
  add_part(hash, "trainctl environment 1");
  add_part(hash, lock);
  add_part(hash, python_build);
  add_platform(hash, platform, false);
  return hash.finish_hex();
}

std::string short_key(const std::string& key) {
  return key.substr(0, 6);
}

}  // namespace trainctl::host
