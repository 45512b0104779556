// SPDX-License-Identifier: Apache-2.0
#include "spec/sources.hpp"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "base/text.hpp"
#include "spec/check.hpp"
#include "spec/kinds.hpp"
#include "spec/layer.hpp"
#include "spec/run_tables.hpp"
#include "spec/schema.hpp"
#include "spec/trust.hpp"
#include "trainctl/error.hpp"

namespace trainctl::spec {
namespace {

constexpr std::size_t kMaxExtends = 16;
constexpr const char* kProjectFile = "trainctl.json";

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

/// Where a trainctl.json for `base` may be, the nearest first.
std::vector<fs::path> project_folders(const fs::path& base) {
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
  return folders;
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

void add_error(Errors& errors, const std::optional<SourcePosition>& at, std::string field, std::string message,
               std::string hint = {}) {
  Error error{.code = Errc::invalid, .message = std::move(message), .at = at};
  error.field = std::move(field);
  error.hint = std::move(hint);
  errors.push_back(std::move(error));
}

std::optional<SourcePosition> position(const base::LocatedJson& document, const std::string& pointer) {
  const auto found = document.positions.values.find(pointer);
  return found == document.positions.values.end() ? std::nullopt : std::optional(found->second);
}

/// "extends" as it is written, counted from the folder of the file the person named.
std::optional<std::string> extended(const base::LocatedJson& document, const std::string& prefix) {
  if (!document.value.is_object()) return std::nullopt;
  const auto extends = document.value.find("extends");
  if (extends == document.value.end() || !extends->is_string()) return std::nullopt;
  const std::string written = extends->get<std::string>();
  return written.empty() ? std::nullopt : std::optional(rebase_path(written, prefix));
}

}  // namespace

std::optional<std::string> Sources::text_of(const fs::path& shown, bool required) {
  auto text = base::read_file(shown, base::kMaxJsonBytes + 1);
  if (!text) {
    if (!required && text.error().code == Errc::not_found) return std::nullopt;
    errors_.push_back(std::move(text).error());
    return std::nullopt;
  }
  read_.push_back(fs::absolute(shown).lexically_normal());
  return std::move(*text);
}

std::optional<base::LocatedJson> Sources::parse_text(const std::string& text, const fs::path& shown) {
  return base::parse_located(text, shown.string(), errors_);
}

std::optional<base::LocatedJson> Sources::parse(const fs::path& shown, bool required) {
  const auto text = text_of(shown, required);
  return text ? parse_text(*text, shown) : std::nullopt;
}

bool Sources::trusts(const fs::path& file, const std::string& text) const {
  if (!options_.trusted) return false;
  const auto list = TrustList::load(*options_.trusted);
  return list && list->trusts(file, text);
}

std::optional<Layer> Sources::read(const fs::path& shown, const Table& table, const CheckOptions& options,
                                   bool required) {
  const auto located = parse(shown, required);
  if (!located) return std::nullopt;
  return check_document(*located, table, options, errors_);
}

std::vector<Sources::Link> Sources::chain_of(const fs::path& shown) {
  std::vector<Link> chain;
  const fs::path base = parent_or_here(shown);
  std::vector<fs::path> seen;
  fs::path current = shown;
  std::optional<SourcePosition> from;
  while (true) {
    std::error_code problem;
    fs::path absolute = fs::weakly_canonical(fs::absolute(current), problem);
    if (problem) absolute = fs::absolute(current);  // a loop of links: reading it says so
    if (seen.size() > kMaxExtends) {
      add_error(errors_, from, "extends", "\"extends\" is more than 16 files deep");
      break;
    }
    if (std::find(seen.begin(), seen.end(), absolute) != seen.end()) {
      add_error(errors_, from, "extends", "\"extends\" goes round in a circle: " + current.string());
      break;
    }
    seen.push_back(absolute);
    const std::size_t before = errors_.size();
    auto document = parse(current, true);
    if (!document) {
      if (from && errors_.size() > before && !errors_[before].at) {
        errors_[before].at = from;
        errors_[before].field = "extends";
      }
      break;
    }
    const auto next = extended(*document, prefix_between(parent_or_here(current), base));
    from = position(*document, "/extends");
    chain.push_back({current, std::move(*document)});
    if (!next) break;
    const fs::path path = *next;
    current = (path.is_absolute() || base == "." ? path : base / path).lexically_normal();
  }
  return chain;
}

/// What the file says it is, else what it extends. Files of other kinds get one clear sentence instead of a list of
/// unknown fields.
const SpecKind* Sources::kind_of_chain(const std::vector<Link>& chain) {
  if (chain.empty()) return nullptr;
  const SpecKind* kind = nullptr;
  for (const Link& link : chain) {
    const SpecKind* own = kind_of(link.document.value);
    if (own == nullptr) continue;
    if (!own->describes_run) {
      add_error(errors_, position(link.document, "/type"), "type",
                "this file is " + std::string(own->phrase) + ", not a run configuration",
                "this version runs run configurations (\"type\": \"run\") and estimators (\"type\": \"estimator\")");
      return nullptr;
    }
    if (kind == nullptr) kind = own;
    if (kind == own || own == &run_kind()) continue;
    add_error(errors_, position(chain.front().document, "/extends"), "extends",
              std::string(kind->phrase) + " cannot build on " + std::string(own->phrase) + ": " + link.shown.string(),
              "write \"type\": \"" + std::string(own->type) + "\" in the file that extends it");
    return nullptr;
  }
  return kind == nullptr ? &run_kind() : kind;
}

SpecFiles Sources::spec_file(const fs::path& shown) {
  const std::vector<Link> chain = chain_of(shown);
  SpecFiles files{.kind = kind_of_chain(chain)};
  if (files.kind == nullptr) return files;
  const fs::path base = parent_or_here(shown);
  for (const Link& link : chain) {
    const CheckOptions options{.kind = files.layers.empty() ? Origin::Kind::file : Origin::Kind::extends,
                               .prefix = prefix_between(parent_or_here(link.shown), base)};
    // A run configuration below an estimator is read with its own words: its pip_packages are its environment's.
    const SpecKind* own = kind_of(link.document.value);
    const SpecKind& kind = own == nullptr ? *files.kind : *own;
    Layer layer = check_document(link.document, kind.table(), options, errors_);
    resolve_environments(layer, options, base);
    for (const char* key : {"extends", "$schema"}) remove_key(layer, key);
    if (&kind != files.kind) remove_key(layer, "type");
    files.layers.push_back(std::move(layer));
  }
  std::reverse(files.layers.begin(), files.layers.end());
  return files;
}

std::optional<Layer> Sources::project(const fs::path& base) {
  if (!options_.use_project) return std::nullopt;
  const fs::path own = options_.path.empty() ? fs::path() : fs::absolute(options_.path).lexically_normal();
  for (const fs::path& folder : project_folders(base)) {
    const fs::path file = folder / kProjectFile;
    if (file == own || !base::exists(file)) continue;
    const CheckOptions options{.kind = Origin::Kind::project, .prefix = prefix_between(folder, base)};
    const std::string prefix = prefix_between(folder, base);
    const fs::path shown =
        (base == "." || base.empty() ? fs::path(prefix) / kProjectFile : base / prefix / kProjectFile)
            .lexically_normal();
    const auto text = text_of(shown, true);
    const auto located = text ? parse_text(*text, shown) : std::nullopt;
    if (!located) return std::nullopt;
    Layer layer = check_document(*located, settings_table(), options, errors_);
    Errors refused = commands_in(layer, shown);
    if (!refused.empty() && !trusts(file, *text)) {
      errors_.insert(errors_.end(), std::make_move_iterator(refused.begin()), std::make_move_iterator(refused.end()));
    }
    resolve_environments(layer, options, base);
    remove_key(layer, "$schema");
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
Errors Sources::commands_in(const Layer& layer, const fs::path& file) {
  Errors errors;
  const auto refuse = [&](const std::string& pointer, const std::string& what) {
    Error error{.code = Errc::denied, .message = what + " in " + file.string() + " needs your trust"};
    if (const Origin* origin = find_origin(layer.origins, pointer)) error.at = origin->at;
    error.field = field_of(pointer);
    error.hint =
        "read the file, then run \"trainctl trust\" in its folder, or move this to the run configuration or to your "
        "own "
        "settings";
    errors.push_back(std::move(error));
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
  return errors;
}

std::optional<fs::path> find_project(const fs::path& base) {
  for (const fs::path& folder : project_folders(base)) {
    if (base::exists(folder / kProjectFile)) return folder / kProjectFile;
  }
  return std::nullopt;
}

}  // namespace trainctl::spec
