// SPDX-License-Identifier: Apache-2.0
#include "spec/sources.hpp"

#include <algorithm>
#include <utility>

#include "base/file.hpp"
#include "base/json_locate.hpp"
#include "base/text.hpp"
#include "spec/run_tables.hpp"

namespace trainctl::spec {
namespace {

constexpr std::size_t kMaxExtends = 16;

/// `folder` as seen from `base`: what has to stand before a path that is written in a file of `folder`.
std::string prefix_between(const fs::path& folder, const fs::path& base) {
  const fs::path from = fs::absolute(folder).lexically_normal();
  const fs::path to = fs::absolute(base).lexically_normal();
  const fs::path relative = from.lexically_relative(to);
  return relative.empty() || relative == "." ? "" : relative.string();
}

fs::path parent_or_here(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

/// "/secrets/0/command" as people write it: secrets[0].command.
std::string field_of(const std::string& pointer) {
  std::string field;
  for (const std::string& part : base::split(pointer.substr(1), '/')) {
    const bool number = part.find_first_not_of("0123456789") == std::string::npos;
    field += number ? "[" + part + "]" : (field.empty() ? "" : ".") + part;
  }
  return field;
}

/// Files of other kinds get one clear sentence instead of a list of unknown fields.
bool other_kind(const base::LocatedJson& document, Errors& errors) {
  if (!document.value.is_object()) return false;
  const auto type = document.value.find("type");
  if (type == document.value.end()) return false;
  for (const char* kind : {"estimator", "pipeline", "sweep", "target"}) {
    if (*type != kind) continue;
    Error error{.code = Errc::invalid, .message = std::string("this file is a ") + kind + ", not a run configuration"};
    if (*kind == 'e') error.message = "this file is an estimator, not a run configuration";
    if (const auto at = document.positions.values.find("/type"); at != document.positions.values.end())
      error.at = at->second;
    error.field = "type";
    error.hint = "this version runs run configurations (\"type\": \"run\")";
    errors.push_back(std::move(error));
    return true;
  }
  return false;
}

}  // namespace

std::optional<Layer> Sources::read(const fs::path& shown, const Table& table, CheckOptions options, bool required) {
  auto text = base::read_file(shown, base::kMaxJsonBytes + 1);
  if (!text) {
    if (!required && text.error().code == Errc::not_found) return std::nullopt;
    errors_.push_back(std::move(text).error());
    return std::nullopt;
  }
  read_.push_back(fs::absolute(shown).lexically_normal());
  auto located = base::parse_located(*text, shown.string());
  if (!located) {
    for (Error& error : located.error()) errors_.push_back(std::move(error));
    return std::nullopt;
  }
  if (&table == &run_table() && other_kind(*located, errors_)) return std::nullopt;
  return check_document(*located, table, options, errors_);
}

std::vector<Layer> Sources::run_file(const fs::path& shown) {
  std::vector<Layer> chain;
  const fs::path base = parent_or_here(shown);
  std::vector<fs::path> seen;
  fs::path current = shown;
  std::optional<SourcePosition> from;
  while (true) {
    const fs::path absolute = fs::weakly_canonical(fs::absolute(current));
    if (std::find(seen.begin(), seen.end(), absolute) != seen.end() || seen.size() > kMaxExtends) {
      Error error{
          .code = Errc::invalid, .message = "\"extends\" goes round in a circle: " + current.string(), .at = from};
      if (seen.size() > kMaxExtends) error.message = "\"extends\" is more than 16 files deep";
      error.field = "extends";
      errors_.push_back(std::move(error));
      break;
    }
    seen.push_back(absolute);
    const fs::path folder = parent_or_here(current);
    CheckOptions options{.kind = chain.empty() ? Origin::Kind::file : Origin::Kind::extends,
                         .prefix = prefix_between(folder, base)};
    const std::size_t before = errors_.size();
    auto layer = read(current, run_table(), options, true);
    if (!layer) {
      if (from && errors_.size() > before && !errors_[before].at) {
        errors_[before].at = from;
        errors_[before].field = "extends";
      }
      break;
    }
    resolve_environments(*layer, options, base);
    std::optional<fs::path> next;
    if (const auto extends = layer->value.find("extends"); extends != layer->value.end() && extends->is_string()) {
      // Already rebased: it counts from the base directory.
      const fs::path written = extends->get<std::string>();
      next = written.is_absolute() || base == "." ? written : base / written;
      from = find_origin(layer->origins, "/extends")->at;
    }
    remove_key(*layer, "extends");
    remove_key(*layer, "$schema");
    chain.push_back(std::move(*layer));
    if (!next) break;
    current = next->lexically_normal();
  }
  std::reverse(chain.begin(), chain.end());
  return chain;
}

std::optional<Layer> Sources::project(const fs::path& base) {
  if (!options_.use_project) return std::nullopt;
  std::vector<fs::path> folders;
  bool in_repository = false;
  for (fs::path folder = fs::absolute(base).lexically_normal();; folder = folder.parent_path()) {
    if (!folder.has_filename() && folder.has_parent_path() && folder != folder.root_path())
      folder = folder.parent_path();
    folders.push_back(folder);
    in_repository = base::exists(folder / ".git");
    if (in_repository || folder == folder.root_path()) break;
  }
  if (!in_repository) folders.resize(1);  // outside a repository nothing above the folder is ours
  const fs::path own = options_.path.empty() ? fs::path() : fs::absolute(options_.path).lexically_normal();
  for (const fs::path& folder : folders) {
    const fs::path file = folder / "trainctl.json";
    if (file == own || !base::exists(file)) continue;
    const CheckOptions options{.kind = Origin::Kind::project, .prefix = prefix_between(folder, base)};
    const std::string prefix = prefix_between(folder, base);
    const fs::path shown =
        base == "." || base.empty() ? fs::path(prefix) / "trainctl.json" : (base / prefix / "trainctl.json");
    auto layer = read(shown.lexically_normal(), settings_table(), options, true);
    if (!layer) return std::nullopt;
    refuse_commands(*layer, shown);
    resolve_environments(*layer, options, base);
    remove_key(*layer, "targets");
    remove_key(*layer, "$schema");
    return layer;
  }
  return std::nullopt;
}

std::optional<Layer> Sources::user() {
  if (!options_.user_config) return std::nullopt;
  const fs::path& file = *options_.user_config;
  const CheckOptions options{.kind = Origin::Kind::user, .prefix = fs::absolute(parent_or_here(file)).string()};
  auto layer = read(file, settings_table(), options, false);
  if (!layer) return std::nullopt;
  resolve_environments(*layer, options, parent_or_here(file));
  remove_key(*layer, "targets");
  remove_key(*layer, "$schema");
  return layer;
}

void Sources::resolve_environments(Layer& layer, const CheckOptions& options, const fs::path& folder) {
  resolve_environment(layer, "/environment", options, folder);
  for (const char* group : {"profiles", "on"}) {
    const auto found = layer.value.find(group);
    if (found == layer.value.end() || !found->is_object()) continue;
    std::vector<std::string> names;
    for (const auto& entry : found->items()) names.push_back(entry.key());
    for (const std::string& name : names) {
      const std::string part = base::pointer_append(base::pointer_append("", group), name);
      resolve_environment(layer, part + "/environment", options, folder);
    }
  }
}

/// Puts the content of the referred file below the fields that are written beside the reference.
void Sources::resolve_environment(Layer& layer, const std::string& pointer, const CheckOptions& options,
                                  const fs::path& folder) {
  const Json::json_pointer path(pointer);
  if (!layer.value.contains(path) || !layer.value.at(path).is_object()) return;
  const auto reference = layer.value.at(path).find("reference");
  if (reference == layer.value.at(path).end() || !reference->is_string()) return;
  const fs::path written = reference->get<std::string>();
  const fs::path shown = written.is_absolute() || folder == "." ? written : folder / written;
  const Origin* origin = find_origin(layer.origins, pointer + "/reference");
  const std::size_t before = errors_.size();
  CheckOptions inner = options;
  inner.prefix = parent_or_here(written).string();
  auto content = read(shown.lexically_normal(), environment_table(), inner, true);
  if (!content) {
    if (errors_.size() > before && !errors_[before].at && origin != nullptr) {
      errors_[before].at = origin->at;
      errors_[before].field = "environment";
    }
    return;
  }
  if (content->value.contains("reference")) {
    Error error{.code = Errc::invalid, .message = "an environment file cannot refer to another one"};
    error.at = find_origin(content->origins, "/reference")->at;
    error.field = "reference";
    errors_.push_back(std::move(error));
    return;
  }
  const auto beside = extract(layer, pointer, options.kind, options.label);
  const bool replaces = origin != nullptr && find_origin(layer.origins, pointer)->replaces;
  Layer whole = std::move(*content);
  Layer own = *beside;
  if (const auto root = own.origins.find(""); root != own.origins.end()) root->second.replaces = false;
  merge(whole, own);
  layer.value[path] = std::move(whole.value);
  for (auto& [place, where] : whole.origins) layer.origins.insert_or_assign(pointer + place, std::move(where));
  if (replaces) layer.origins[pointer].replaces = true;
}

/// A repository that is only looked at must not make us run its programs (git's CVE-2022-24765).
void Sources::refuse_commands(const Layer& layer, const fs::path& file) {
  if (options_.project_trusted) return;
  const auto refuse = [&](const std::string& pointer, const std::string& what) {
    Error error{.code = Errc::denied, .message = what + " in " + file.string() + " needs your trust"};
    if (const Origin* origin = find_origin(layer.origins, pointer)) error.at = origin->at;
    error.field = field_of(pointer);
    error.hint =
        "a project's settings may not define commands: move it to the run configuration or to your own settings";
    errors_.push_back(std::move(error));
  };
  const auto secrets = [&](const Json& holder, const std::string& pointer) {
    const auto list = holder.is_object() ? holder.find("secrets") : holder.end();
    if (list == holder.end() || !list->is_array()) return;
    for (std::size_t i = 0; i < list->size(); ++i) {
      if ((*list)[i].is_object() && (*list)[i].contains("command")) {
        refuse(pointer + "/secrets/" + std::to_string(i) + "/command", "a secret's command");
      }
    }
  };
  secrets(layer.value, "");
  for (const char* group : {"profiles", "on"}) {
    const auto found = layer.value.find(group);
    if (found == layer.value.end() || !found->is_object()) continue;
    for (const auto& [name, part] : found->items()) {
      secrets(part, base::pointer_append(base::pointer_append("", group), name));
    }
  }
  if (layer.value.contains("targets")) refuse("/targets", "\"targets\" (they may define commands, such as ssh's)");
}

}  // namespace trainctl::spec
