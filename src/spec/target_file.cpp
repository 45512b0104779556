// SPDX-License-Identifier: Apache-2.0
#include "spec/target_file.hpp"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "spec/check.hpp"
#include "spec/complaints.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"
#include "spec/target.hpp"
#include "spec/trust.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::spec {
namespace {

constexpr std::string_view kEnding = ".json";

std::vector<TargetPlace> files_in(const std::optional<fs::path>& folder, bool project) {
  std::vector<TargetPlace> places;
  if (!folder) return places;
  for (const std::string& entry : base::list_directory(*folder).value_or(std::vector<std::string>{})) {
    const std::string_view file(entry);
    if (!file.ends_with(kEnding)) continue;
    const std::string_view name = file.substr(0, file.size() - kEnding.size());
    if (is_target_name(name)) places.push_back({std::string(name), *folder / entry, project});
  }
  std::sort(places.begin(), places.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return places;
}

Error needs_trust(const Layer& layer, const TargetPlace& place, const std::string& pointer, const std::string& what) {
  Error error{.code = Errc::denied, .message = what + " in " + place.file.string() + " needs your trust"};
  if (const Origin* origin = find_origin(layer.origins, pointer)) error.at = origin->at;
  error.field = pointer.empty() ? "" : pointer.substr(1);
  std::replace(error.field.begin(), error.field.end(), '/', '.');
  error.hint = "read the file, then \"trainctl trust " + place.file.string() + "\"";
  return error;
}

/// What a repository that was only cloned must not decide.
Errors doubtful(const Layer& layer, const TargetPlace& place, const TargetFolders& folders) {
  Errors errors;
  const Json& value = layer.value;
  if (value.contains("ssh_config"))
    errors.push_back(needs_trust(layer, place, "/ssh_config", "an ssh configuration (it may define commands)"));
  if (value.value("accept_new_host_keys", Json(false)) == true)
    errors.push_back(needs_trust(layer, place, "/accept_new_host_keys", "accept_new_host_keys"));
  const Json::json_pointer secrets("/defaults/secrets");
  if (value.contains(secrets) && value.at(secrets).is_array()) {
    for (std::size_t i = 0; i < value.at(secrets).size(); ++i) {
      const Json& secret = value.at(secrets)[i];
      const std::string pointer = "/defaults/secrets/" + std::to_string(i) + "/command";
      if (secret.is_object() && secret.contains("command"))
        errors.push_back(needs_trust(layer, place, pointer, "a secret's command"));
    }
  }
  if (folders.user && base::exists(*folders.user / place.file.filename()))
    errors.push_back(needs_trust(layer, place, "", "\"" + place.name + "\" hides your own target, so what is"));
  return errors;
}

bool is_trusted(const TargetPlace& place, const std::string& text, const TargetFolders& folders) {
  if (!folders.trusted) return false;
  const auto list = TrustList::load(*folders.trusted);
  return list && list->trusts(place.file, text);
}

}  // namespace

TargetFolders TargetFolders::around(const fs::path& directory) {
  TargetFolders folders;
  if (const auto project = find_project(directory)) folders.project = project->parent_path() / "targets";
  if (const auto config = default_user_config()) folders.user = config->parent_path() / "targets";
  folders.trusted = default_trust_list();
  return folders;
}

std::vector<TargetPlace> list_target_files(const TargetFolders& folders) {
  std::vector<TargetPlace> places = files_in(folders.project, true);
  for (TargetPlace& own : files_in(folders.user, false)) {
    own.hidden = std::any_of(places.begin(), places.end(),
                             [&](const TargetPlace& one) { return one.project && one.name == own.name; });
    places.push_back(std::move(own));
  }
  std::stable_sort(places.begin(), places.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return places;
}

std::optional<TargetPlace> find_target_file(const TargetFolders& folders, std::string_view name) {
  if (!is_target_name(name)) return std::nullopt;
  const std::string file = std::string(name) + std::string(kEnding);
  for (const bool project : {true, false}) {
    const auto& folder = project ? folders.project : folders.user;
    if (folder && base::exists(*folder / file)) return TargetPlace{std::string(name), *folder / file, project};
  }
  return std::nullopt;
}

ResultAll<TargetFile> read_target_file(const TargetPlace& place, const TargetFolders& folders) {
  const auto text = base::read_file(place.file, base::kMaxJsonBytes);
  if (!text) return tl::make_unexpected(Errors{text.error()});
  return parse_target_file(place, *text, folders);
}

ResultAll<TargetFile> parse_target_file(const TargetPlace& place, const std::string& text,
                                        const TargetFolders& folders) {
  Errors errors;
  const auto document = base::parse_located(text, place.file.string(), errors);
  if (!document) return tl::make_unexpected(std::move(errors));
  // What is written in it is used from elsewhere: its paths are made absolute.
  const CheckOptions options{.prefix = fs::absolute(place.file).lexically_normal().parent_path().string()};
  const Layer layer = check_document(*document, target_table(), options, errors);
  TargetFile file{.place = place, .target = read_target(layer.value), .defaults = {}};
  if (errors.empty()) {
    Complaints complaints(layer.origins);
    validate_target(file.target, "", complaints);
    if (layer.value.contains(Json::json_pointer("/defaults/target")))
      complaints.add("/defaults/target", "defaults.target", "a target cannot send its runs to another one");
    errors = complaints.take();
  }
  if (place.project && !is_trusted(place, text, folders)) {
    for (Error& error : doubtful(layer, place, folders)) errors.push_back(std::move(error));
  }
  if (!errors.empty()) return tl::make_unexpected(std::move(errors));
  auto defaults = extract(layer, "/defaults", Origin::Kind::target, "target " + place.name);
  if (defaults && defaults->value.is_object()) file.defaults = std::move(*defaults);
  return file;
}

}  // namespace trainctl::spec
