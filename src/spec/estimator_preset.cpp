// SPDX-License-Identifier: Apache-2.0
#include "spec/estimator_preset.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <trainctl_embedded/estimator_presets.hpp>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/json_locate.hpp"
#include "base/text.hpp"
#include "spec/bind.hpp"
#include "spec/check.hpp"
#include "spec/complaints.hpp"
#include "spec/distribution_styles.hpp"
#include "spec/layer.hpp"
#include "spec/release.hpp"
#include "spec/schema.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::spec {

template <>
const Table& table_of<EstimatorPreset>();  // preset_tables.cpp

namespace {

constexpr std::size_t kMaxExtends = 8;
constexpr std::uint64_t kMaxPresetBytes = 1U << 20U;
constexpr const char* kBuiltIn = "built in";

struct PresetText {
  std::string text;
  std::string label;      ///< the file, or "built in"
  std::size_t level = 0;  ///< index of its folder; the number of folders for what is built in
};

/// The text of preset `name`, looked for from folder `level` on.
Result<std::optional<PresetText>> find_text(const std::vector<fs::path>& folders, const std::string& name,
                                            std::size_t level) {
  for (std::size_t i = level; i < folders.size(); ++i) {
    const fs::path file = folders[i] / (name + ".json");
    TRY_ASSIGN(auto text, base::read_file_if_exists(file, kMaxPresetBytes));
    if (text) return PresetText{std::move(*text), file.string(), i};
  }
  if (level <= folders.size()) {
    for (const auto& [known, text] : embedded::estimator_presets()) {
      if (known == name) return PresetText{std::string(text), kBuiltIn, folders.size()};
    }
  }
  return std::nullopt;
}

/// The preset's layer and, below it, what it extends.
class Reader {
 public:
  Reader(const std::vector<fs::path>& folders, Errors& errors) : folders_(folders), errors_(errors) {}

  std::optional<Layer> read(const std::string& name, std::size_t level, std::size_t depth) {
    auto found = find_text(folders_, name, level);
    if (!found) {
      errors_.push_back(std::move(found).error());
      return std::nullopt;
    }
    if (!*found) return std::nullopt;
    const PresetText& text = **found;
    if (source_.empty()) source_ = text.label;
    auto located = base::parse_located(text.text, text.label == kBuiltIn ? name + ".json (built in)" : text.label);
    if (!located) {
      for (Error& error : located.error()) errors_.push_back(std::move(error));
      return std::nullopt;
    }
    Layer own = check_document(*located, estimator_preset_table(), {}, errors_);
    const auto extends = own.value.find("extends");
    if (extends == own.value.end() || !extends->is_string()) return own;
    const std::string wanted = extends->get<std::string>();
    std::optional<Layer> below;
    if (depth < kMaxExtends) below = read(wanted, wanted == name ? text.level + 1 : 0, depth + 1);
    if (!below) {
      Complaints out(own.origins);
      out.add("/extends", "extends", "there is no preset \"" + wanted + "\" to build on", "trainctl estimator ls");
      for (Error& error : out.take()) errors_.push_back(std::move(error));
      return own;
    }
    remove_key(own, "extends");
    merge(*below, own);
    return below;
  }

  [[nodiscard]] const std::string& source() const { return source_; }

 private:
  const std::vector<fs::path>& folders_;
  Errors& errors_;
  std::string source_;
};

void check_release(const std::optional<std::string>& version, const std::string& pointer, Complaints& out) {
  if (!version || is_release(*version)) return;
  out.add(pointer, pointer.substr(pointer.rfind('/') + 1), "\"" + *version + "\" is not a version", "like \"2.3\"");
}

void check_rules(const std::vector<PresetRule>& rules, const std::string& pointer, Complaints& out) {
  for (std::size_t i = 0; i < rules.size(); ++i) {
    for (std::size_t k = 0; k < rules[i].when.size(); ++k) {
      const PresetCondition& condition = rules[i].when[k];
      const std::string place = pointer + "/" + std::to_string(i) + "/when/" + std::to_string(k);
      check_release(condition.from, place + "/from", out);
      check_release(condition.until, place + "/until", out);
      if (!condition.above && condition.is.empty() && !condition.from && !condition.until) {
        out.add(place, "when", "this condition says nothing", "add above, is, from or until");
      }
    }
  }
}

/// What types cannot say.
void check_preset(const EstimatorPreset& preset, Complaints& out) {
  check_release(preset.default_version, "/default_version", out);
  for (std::size_t i = 0; i < preset.versions.size(); ++i) {
    const std::string place = "/versions/" + std::to_string(i);
    const PresetVersions& range = preset.versions[i];
    check_release(range.from, place + "/from", out);
    check_release(range.until, place + "/until", out);
    for (std::size_t k = 0; k < range.known.size(); ++k) {
      check_release(range.known[k], place + "/known/" + std::to_string(k), out);
    }
  }
  if (!preset.versions.empty() && !preset.default_version) {
    out.add("/versions", "versions", "there is no default_version", "add \"default_version\"");
  }
  std::set<std::string, std::less<>> names;
  for (const PresetDistribution& one : preset.distributions) {
    names.insert(one.name);
    const auto style = find_style(one.name);
    if (style && style->name == one.name) continue;
    out.add(base::pointer_append("/distributions", one.name), "distributions",
            "\"" + one.name + "\" is no way of distributing", "one of " + style_names());
  }
  if (preset.default_distribution && !names.contains(*preset.default_distribution)) {
    out.add("/default_distribution", "default_distribution",
            "\"" + *preset.default_distribution + "\" is not among the distributions");
  }
  check_rules(preset.checks, "/checks", out);
  check_rules(preset.hints, "/hints", out);
}

/// Names are compared without case, blanks, "-" and "_": SKLearn is sklearn.
std::string plain(std::string_view name) {
  std::string text = base::to_lower(name);
  std::erase_if(text, [](char c) { return c == '-' || c == '_' || c == ' ' || c == '.'; });
  return text;
}

ResultAll<FoundPreset> load_named(const std::vector<fs::path>& folders, const std::string& name) {
  Errors errors;
  Reader reader(folders, errors);
  const auto layer = reader.read(name, 0, 0);
  FoundPreset found{.source = reader.source()};
  if (layer) {
    read_struct(layer->value, found.preset);
    found.preset.name = name;
    Complaints out(layer->origins);
    check_preset(found.preset, out);
    for (Error& error : out.take()) errors.push_back(std::move(error));
  }
  if (!errors.empty()) {
    for (Error& error : errors) error.with_context("read the estimator " + name);
    return tl::make_unexpected(std::move(errors));
  }
  return found;
}

}  // namespace

std::vector<std::string> Presets::names() const {
  std::set<std::string> names;
  for (const auto& [name, text] : embedded::estimator_presets()) names.emplace(name);
  for (const fs::path& folder : folders_) {
    const auto files = base::list_directory(folder);
    if (!files) continue;
    for (const std::string& file : *files) {
      if (file.ends_with(".json") && !file.starts_with('.')) names.insert(file.substr(0, file.size() - 5));
    }
  }
  return {names.begin(), names.end()};
}

std::optional<std::string> Presets::canonical_name(std::string_view written) const {
  const std::vector<std::string> all = names();
  for (const std::string& name : all) {
    if (plain(name) == plain(written)) return name;
  }
  for (const std::string& name : all) {
    const auto found = load_named(folders_, name);
    if (!found) continue;
    for (const std::string& alias : found->preset.aliases) {
      if (plain(alias) == plain(written)) return name;
    }
  }
  return std::nullopt;
}

ResultAll<FoundPreset> Presets::load(std::string_view written) const {
  if (const auto name = canonical_name(written)) return load_named(folders_, *name);
  const std::vector<std::string> all = names();
  const std::string lower = base::to_lower(written);
  std::vector<std::string_view> views(all.begin(), all.end());
  Error error{.code = Errc::not_found, .message = "there is no estimator \"" + std::string(written) + "\""};
  if (const auto near = base::suggest(lower, views)) error.message += ", did you mean \"" + *near + "\"?";
  error.hint = "there are: " + base::join(all, ", ") +
               "; one of your own is a file .trainctl/estimators/NAME.json (trainctl help estimator)";
  return tl::make_unexpected(Errors{std::move(error)});
}

std::vector<fs::path> preset_folders(const fs::path& base, const std::optional<fs::path>& user_config) {
  std::vector<fs::path> folders;
  for (fs::path folder = fs::absolute(base / ".").lexically_normal().parent_path();; folder = folder.parent_path()) {
    folders.push_back(folder / ".trainctl" / "estimators");
    if (base::exists(folder / ".git")) break;
    if (folder == folder.root_path() || folder.empty()) {
      folders.resize(1);  // outside a repository nothing above the folder is ours
      break;
    }
  }
  if (user_config) folders.push_back(user_config->parent_path() / "estimators");
  return folders;
}

}  // namespace trainctl::spec
