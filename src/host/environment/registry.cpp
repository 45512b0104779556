// SPDX-License-Identifier: Apache-2.0
// What is kept, who uses it, and taking it away.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "host/environment/environment.hpp"
#include "host/environment/places.hpp"
#include "host/environment/request.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

namespace fs = std::filesystem;

namespace {

bool is_key(std::string_view name) {
  return name.size() == 64 && name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool lock_file(int fd, int operation) {
  int result = 0;
  do {
    result = ::flock(fd, operation);
  } while (result != 0 && errno == EINTR);
  return result == 0;
}

// True when nobody holds the lock of `path`.
bool is_free(const fs::path& path) {
  const base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return !fd || lock_file(fd.get(), LOCK_EX | LOCK_NB);
}

std::string text_of(const Json& json, const char* key) {
  const auto field = json.find(key);
  return field != json.end() && field->is_string() ? field->get<std::string>() : std::string();
}

std::uint64_t number_of(const Json& json, const char* key) {
  const auto field = json.find(key);
  return field != json.end() && field->is_number_unsigned() ? field->get<std::uint64_t>() : 0;
}

EnvironmentInfo read_info(const Places& places, const std::string& key) {
  EnvironmentInfo info;
  info.key = key;
  info.path = places.environment(key);
  info.in_use = !is_free(places.use_lock(key));
  info.description = is_free(places.build_lock(key)) ? "unfinished: is built again when it is needed" : "being built";
  struct stat status{};
  if (::stat(info.path.c_str(), &status) == 0) info.last_used = status.st_mtim.tv_sec;
  const auto text = base::read_file_if_exists(places.record(key), base::kMaxJsonBytes);
  if (!text || !*text) return info;
  const auto json = base::parse_json(**text);
  if (!json || !json->is_object()) return info;
  if (::stat(places.record(key).c_str(), &status) == 0) info.last_used = status.st_mtim.tv_sec;
  info.record = **text;
  info.kind = text_of(*json, "kind");
  info.created = text_of(*json, "created");
  info.bytes = number_of(*json, "bytes");
  info.packages = static_cast<std::size_t>(number_of(*json, "packages"));
  if (json->contains("python") && (*json)["python"].is_object())
    info.python_version = text_of((*json)["python"], "version");
  info.complete = true;
  info.description = "python " + info.python_version + ", " + std::to_string(info.packages) +
                     (info.packages == 1 ? " package" : " packages");
  return info;
}

Result<std::string> find_key(const fs::path& root, const std::string& prefix) {
  TRY_ASSIGN(const auto names, base::list_directory(root));
  std::vector<std::string> matches;
  for (const std::string& name : names) {
    if (is_key(name) && name.starts_with(prefix)) matches.push_back(name);
  }
  if (prefix.size() < 4 || matches.empty()) {
    return fail(Errc::not_found, "no environment " + prefix,
                prefix.size() < 4 ? "give at least four digits of its key" : "trainctl env ls shows them");
  }
  if (matches.size() > 1) {
    return fail(Errc::invalid, "several environments begin with " + prefix + ": " + base::join(matches, ", "));
  }
  return matches.front();
}

}  // namespace

Result<EnvironmentUse> EnvironmentUse::acquire(const fs::path& root, const std::string& key) {
  const Places places{root};
  const fs::path path = places.use_lock(key);
  base::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) fd.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd && !lock_file(fd.get(), LOCK_SH)) return fail_errno("lock " + path.string(), errno);
  if (!base::exists(places.record(key)))
    return fail(Errc::not_found, "the environment " + short_key(key) + " was removed");
  return EnvironmentUse(std::move(fd));
}

Result<EnvironmentUse> EnvironmentUse::acquire(const fs::path& root, const BuiltEnvironment& environment) {
  if (environment.root.empty() || environment.root != root / environment.key) return EnvironmentUse(base::UniqueFd());
  return acquire(root, environment.key);
}

Result<std::vector<EnvironmentInfo>> list_environments(const fs::path& root) {
  TRY_ASSIGN(const auto names, base::list_directory(root));
  std::vector<EnvironmentInfo> list;
  for (const std::string& name : names) {
    if (is_key(name)) list.push_back(read_info(Places{root}, name));
  }
  std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.last_used > b.last_used; });
  return list;
}

Result<EnvironmentInfo> show_environment(const fs::path& root, const std::string& key_prefix) {
  TRY_ASSIGN(const std::string key, find_key(root, key_prefix));
  return read_info(Places{root}, key);
}

Result<std::uint64_t> remove_environment(const fs::path& root, const std::string& key_prefix) {
  TRY_ASSIGN(const std::string key, find_key(root, key_prefix));
  const Places places{root};
  const EnvironmentInfo info = read_info(places, key);
  TRY(base::make_directories(places.locks_folder()));
  TRY_ASSIGN(const auto build, base::FileLock::try_acquire(places.build_lock(key)));
  if (!build)
    return fail(Errc::denied, "the environment " + short_key(key) + " is being built", "wait, or cancel its run");
  TRY_ASSIGN(const auto use, base::FileLock::try_acquire(places.use_lock(key)));
  if (!use) {
    return fail(Errc::denied, "the environment " + short_key(key) + " is in use by a run",
                "wait for the run or cancel it");
  }
  // First the record: from here on it is unfinished for everyone, even if this stops half way.
  if (::unlink(places.record(key).c_str()) != 0 && errno != ENOENT) {
    return fail_errno("remove " + places.record(key).string(), errno);
  }
  TRY(base::remove_tree(places.environment(key)));
  return info.bytes;
}

Json to_json(const BuiltEnvironment& environment) {
  Json variables = Json::object();
  for (const auto& [name, value] : environment.variables) variables[name] = value ? Json(*value) : Json(nullptr);
  return Json{{"python", environment.python.string()},
              {"root", environment.root.string()},
              {"key", environment.key},
              {"lock_digest", environment.lock_digest},
              {"version", environment.version},
              {"tool", environment.tool},
              {"freeze", environment.freeze},
              {"built", environment.built},
              {"variables", std::move(variables)}};
}

Result<BuiltEnvironment> built_environment_from_json(const Json& json) {
  const bool whole = json.is_object() && json.contains("variables") && json["variables"].is_object() &&
                     json.contains("python") && json["python"].is_string();
  if (!whole) return fail(Errc::store, "the record of a built environment is damaged");
  BuiltEnvironment environment;
  environment.python = text_of(json, "python");
  environment.root = text_of(json, "root");
  environment.key = text_of(json, "key");
  environment.lock_digest = text_of(json, "lock_digest");
  environment.version = text_of(json, "version");
  environment.tool = text_of(json, "tool");
  environment.freeze = text_of(json, "freeze");
  environment.built = json.contains("built") && json["built"] == true;
  for (const auto& [name, value] : json["variables"].items()) {
    environment.variables.emplace_back(name,
                                       value.is_string() ? std::optional(value.get<std::string>()) : std::nullopt);
  }
  return environment;
}

}  // namespace trainctl::host
